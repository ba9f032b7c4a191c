//! The bit stream of Prometheus' chunks (`tsdb/chunkenc/bstream.go`, `varbit.go`).

/// Bits, the highest of a byte first.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are still free.
    free: u32,
}

/// Lengths of a varbit's classes; the number of leading ones tells which.
const CLASSES: [u32; 8] = [3, 6, 9, 12, 18, 25, 56, 64];

impl Bits {
    /// A stream that begins with whole bytes.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, free: 0 }
    }

    /// All of it; the last byte is filled up with zeros.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn bit(&mut self, bit: bool) {
        if self.free == 0 {
            self.bytes.push(0);
            self.free = 8;
        }
        self.free -= 1;
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << self.free;
        }
    }

    /// The `count` lowest bits of `value`.
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        (0..count).rev().for_each(|i| self.bit(value >> i & 1 == 1));
    }

    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits(value, 8);
    }

    /// A signed number of which small ones are short: `-3..=4` take three bits after the class, and so on.
    pub(super) fn varbit(&mut self, value: i64) {
        let fits = |bits: u32| bits == 64 || (-(1i64 << (bits - 1)) + 1..=1 << (bits - 1)).contains(&value);
        self.class(value as u64, value == 0, fits);
    }

    /// The same of an unsigned number.
    pub(super) fn varbit_unsigned(&mut self, value: u64) {
        self.class(value, value == 0, |bits| bits == 64 || value < 1 << bits);
    }

    fn class(&mut self, value: u64, zero: bool, fits: impl Fn(u32) -> bool) {
        if zero {
            return self.bit(false);
        }
        for (class, bits) in CLASSES.into_iter().enumerate() {
            if fits(bits) {
                (0..=class).for_each(|_| self.bit(true));
                // The last class needs no zero behind its ones.
                if class + 1 < CLASSES.len() {
                    self.bit(false);
                }
                return self.bits(value, bits);
            }
        }
    }
}

/// A float that is written as what changed since the one before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Xor {
    value: u64,
    leading: u32,
    trailing: u32,
}

impl Xor {
    /// Written as it is.
    pub(super) fn first(out: &mut Bits, value: f64) -> Self {
        out.bits(value.to_bits(), 64);
        // No change has been written yet.
        Self { value: value.to_bits(), leading: u32::MAX, trailing: 0 }
    }

    /// Writes the next one.
    pub(super) fn next(&mut self, out: &mut Bits, value: f64) {
        let xor = std::mem::replace(&mut self.value, value.to_bits()) ^ value.to_bits();
        if xor == 0 {
            return out.bit(false);
        }
        out.bit(true);
        // Five bits hold the count of leading zeros.
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        if self.leading != u32::MAX && leading >= self.leading && trailing >= self.trailing {
            out.bit(false);
            return out.bits(xor >> self.trailing, 64 - self.leading - self.trailing);
        }
        (self.leading, self.trailing) = (leading, trailing);
        out.bit(true);
        out.bits(u64::from(leading), 5);
        // 64 significant bits are written as 0: none never occurs.
        let significant = 64 - leading - trailing;
        out.bits(u64::from(significant), 6);
        out.bits(xor >> trailing, significant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_bits_of_their_class() {
        let written = |write: &dyn Fn(&mut Bits)| {
            let mut bits = Bits::default();
            write(&mut bits);
            bits.into_bytes()
        };
        assert_eq!(written(&|b| b.varbit(0)), [0]);
        assert_eq!(written(&|b| b.varbit(4)), [0b1010_0000]);
        assert_eq!(written(&|b| b.varbit(-3)), [0b1010_1000]);
        assert_eq!(written(&|b| b.varbit(5)), [0b1100_0010, 0b1000_0000]);
        assert_eq!(written(&|b| b.varbit(-31)), [0b1101_0000, 0b1000_0000]);
        assert_eq!(written(&|b| b.varbit(i64::MIN)), [0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(written(&|b| b.varbit_unsigned(7)), [0b1011_1000]);
        assert_eq!(written(&|b| b.varbit_unsigned(8)), [0b1100_0100, 0]);
        assert_eq!(written(&|b| b.varbit_unsigned(u64::MAX)), [0xff; 9]);
    }
}
