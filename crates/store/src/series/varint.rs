//! Integers of base 128, seven bits a byte, the lowest first.

/// Appends a number.
pub(super) fn put(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a number of either sign, small ones short.
pub(super) fn put_signed(n: i64, out: &mut Vec<u8>) {
    put((n << 1 ^ n >> 63) as u64, out);
}

/// Takes a number off; `None` where there is none.
pub(super) fn get(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(n);
        }
    }
    None
}

/// Takes a number of either sign off.
pub(super) fn get_signed(bytes: &mut &[u8]) -> Option<i64> {
    get(bytes).map(|n| (n >> 1) as i64 ^ -((n & 1) as i64))
}

/// Takes a length and so many bytes off.
pub(super) fn get_bytes<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let len = usize::try_from(get(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// Appends a length and so many bytes.
pub(super) fn put_bytes(taken: &[u8], out: &mut Vec<u8>) {
    put(taken.len() as u64, out);
    out.extend_from_slice(taken);
}
