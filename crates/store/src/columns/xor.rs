//! Xor filters of 12 bits (Graf and Lemire, "Xor Filters: Faster and Smaller Than Bloom and Cuckoo Filters", 2020).
//!
//! Each entry owns three slots, one in each third of the table, whose xor is the entry's print; an absent one agrees by
//! chance once in 4,096. A table has 1.23 slots an entry, two slots in three bytes.
//!
//! As written: a header of four bytes (little-endian: [`MARK`], slots of a third in bits 8 to 30, seed in bits 0 to 7), then the prints.

/// Tells the header from the length of a Bloom filter.
const MARK: u32 = 1 << 31;
/// Slots of a third that a header has room for.
const MAX_THIRD: usize = (1 << 23) - 1;
/// Seeds to try; each fails with a chance of a few per cent.
const SEEDS: u8 = 64;

/// What a header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter {
    third: usize,
    seed: u8,
}

/// Makes filters; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub(super) struct Maker {
    /// Of each slot, the entries that own it and are not settled: the xor of their hashes, and how many.
    slots: Vec<(u64, u32)>,
    alone: Vec<usize>,
    /// Entries in the order in which they were settled, each with the slot that it alone had then.
    settled: Vec<(u64, usize)>,
    prints: Vec<u16>,
}

impl Filter {
    /// The filter of a header; `None` where that is none of ours.
    pub(super) fn of(header: u32) -> Option<Self> {
        (header & MARK != 0).then_some(Self { third: ((header & !MARK) >> 8) as usize, seed: header as u8 })
    }

    fn header(self) -> u32 {
        MARK | (self.third as u32) << 8 | u32::from(self.seed)
    }

    /// Bytes of the prints.
    pub(super) fn len(self) -> usize {
        (self.third * 3).div_ceil(2) * 3
    }

    /// Whether `hash` may be an entry; `prints` are [`Filter::len`] bytes.
    pub(super) fn may_hold(self, prints: &[u8], hash: u64) -> bool {
        if self.third == 0 {
            return false;
        }
        let mixed = self.mix(hash);
        let print = |slot: usize| {
            let pair = &prints[slot / 2 * 3..][..3];
            if slot.is_multiple_of(2) {
                u16::from(pair[0]) | u16::from(pair[1] & 15) << 8
            } else {
                u16::from(pair[1] >> 4) | u16::from(pair[2]) << 4
            }
        };
        self.slots(mixed).into_iter().fold(print_of(mixed), |rest, slot| rest ^ print(slot)) == 0
    }

    fn mix(self, hash: u64) -> u64 {
        let mut h = hash.wrapping_add(u64::from(self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        h = (h ^ h >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h = (h ^ h >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ h >> 33
    }

    /// The three slots of a mixed hash.
    fn slots(self, mixed: u64) -> [usize; 3] {
        let reduce = |bits: u64| ((u64::from(bits as u32) * self.third as u64) >> 32) as usize;
        [reduce(mixed), self.third + reduce(mixed.rotate_left(21)), 2 * self.third + reduce(mixed.rotate_left(42))]
    }
}

fn print_of(mixed: u64) -> u16 {
    (mixed ^ mixed >> 32) as u16 & 0xfff
}

impl Maker {
    /// Appends the filter of `hashes`, which are sorted and freed of repeats; false, with nothing appended, where none can be made.
    pub(super) fn write(&mut self, hashes: &mut Vec<u64>, out: &mut Vec<u8>) -> bool {
        hashes.sort_unstable();
        hashes.dedup();
        let slots = if hashes.is_empty() { 0 } else { hashes.len() + hashes.len() / 4 + 32 };
        let third = slots.div_ceil(3);
        if third > MAX_THIRD {
            return false;
        }
        let Some(filter) = (0..SEEDS).map(|seed| Filter { third, seed }).find(|&f| self.settle(f, hashes)) else { return false };
        self.prints.clear();
        // An even number of slots: the last pair is whole.
        self.prints.resize((third * 3).next_multiple_of(2), 0);
        // Whoever was settled last decides first: nobody settled before it shares the slot that it had alone.
        for &(mixed, slot) in self.settled.iter().rev() {
            let others = filter.slots(mixed).into_iter().fold(print_of(mixed), |rest, s| rest ^ self.prints[s]);
            self.prints[slot] ^= others;
        }
        out.extend_from_slice(&filter.header().to_le_bytes());
        for pair in self.prints.chunks_exact(2) {
            out.extend_from_slice(&[pair[0] as u8, (pair[0] >> 8) as u8 | (pair[1] << 4) as u8, (pair[1] >> 4) as u8]);
        }
        true
    }

    /// Gives every entry a slot that nobody settled later owns; false where that fails.
    fn settle(&mut self, filter: Filter, hashes: &[u64]) -> bool {
        self.slots.clear();
        self.slots.resize(filter.third * 3, (0, 0));
        self.settled.clear();
        for &hash in hashes {
            let mixed = filter.mix(hash);
            for slot in filter.slots(mixed) {
                self.slots[slot].0 ^= mixed;
                self.slots[slot].1 += 1;
            }
        }
        self.alone.clear();
        self.alone.extend(self.slots.iter().enumerate().filter(|(_, s)| s.1 == 1).map(|(i, _)| i));
        while let Some(slot) = self.alone.pop() {
            let (mixed, owners) = self.slots[slot];
            if owners != 1 {
                continue;
            }
            self.settled.push((mixed, slot));
            for other in filter.slots(mixed) {
                let (rest, owners) = &mut self.slots[other];
                *rest ^= mixed;
                *owners -= 1;
                if *owners == 1 {
                    self.alone.push(other);
                }
            }
        }
        self.settled.len() == hashes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(hashes: &[u64]) -> (Filter, Vec<u8>) {
        let mut out = vec![7];
        assert!(Maker::default().write(&mut hashes.to_vec(), &mut out));
        let header = u32::from_le_bytes(out[1..5].try_into().expect("four bytes"));
        let filter = Filter::of(header).expect("a header of ours");
        assert_eq!(out.len(), 5 + filter.len());
        (filter, out.split_off(5))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_went_in_is_held(hashes in proptest::collection::vec(prop_oneof![any::<u64>(), 0..50u64], 0..3000)) {
            let (filter, prints) = made(&hashes);
            prop_assert!(hashes.iter().all(|&hash| filter.may_hold(&prints, hash)));
        }
    }

    #[test]
    fn what_did_not_go_in_is_seldom_held() {
        let hashes: Vec<u64> = (0..1000u64).map(|i| i * i).collect();
        let (filter, prints) = made(&hashes);
        let wrong = (0..100_000u64).filter(|i| filter.may_hold(&prints, (1 << 40) + i)).count();
        assert!((5..80).contains(&wrong), "{wrong} of 100,000, about 24 are to be expected");
        assert!(prints.len() * 8 < 16 * hashes.len());
    }

    #[test]
    fn nothing_holds_nothing() {
        let (filter, prints) = made(&[]);
        assert!(prints.is_empty() && !filter.may_hold(&prints, 1));
        assert!(Filter::of(12).is_none());
    }

    #[test]
    fn memory_is_kept_from_one_to_the_next() {
        let (mut maker, mut out) = (Maker::default(), Vec::new());
        assert!(maker.write(&mut (0..2000).collect(), &mut out));
        let large = out.len();
        assert!(maker.write(&mut vec![5, 5], &mut out));
        let mut fresh = Vec::new();
        assert!(Maker::default().write(&mut vec![5], &mut fresh));
        assert_eq!(out[large..], fresh);
    }
}
