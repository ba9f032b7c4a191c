//! Fields appended to a buffer. As proto3 asks, the `put_*` functions leave out zero and empty values;
//! the `set_*` ones write them too, for members of a `oneof`.

pub(crate) fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn tag(out: &mut Vec<u8>, field: u32, wire_type: u8) {
    varint(out, u64::from(field) << 3 | u64::from(wire_type));
}

pub(crate) fn set_varint(out: &mut Vec<u8>, field: u32, v: u64) {
    tag(out, field, 0);
    varint(out, v);
}

pub(crate) fn put_varint(out: &mut Vec<u8>, field: u32, v: u64) {
    if v != 0 {
        set_varint(out, field, v);
    }
}

pub(crate) fn set_fixed64(out: &mut Vec<u8>, field: u32, v: u64) {
    tag(out, field, 1);
    out.extend_from_slice(&v.to_le_bytes());
}

pub(crate) fn put_fixed64(out: &mut Vec<u8>, field: u32, v: u64) {
    if v != 0 {
        set_fixed64(out, field, v);
    }
}

pub(crate) fn set_fixed32(out: &mut Vec<u8>, field: u32, v: u32) {
    tag(out, field, 5);
    out.extend_from_slice(&v.to_le_bytes());
}

pub(crate) fn put_fixed32(out: &mut Vec<u8>, field: u32, v: u32) {
    if v != 0 {
        set_fixed32(out, field, v);
    }
}

pub(crate) fn set_bytes(out: &mut Vec<u8>, field: u32, v: &[u8]) {
    tag(out, field, 2);
    varint(out, v.len() as u64);
    out.extend_from_slice(v);
}

/// Makes a field of what is in `out`, with `first` in front of it.
pub(crate) fn wrap(out: &mut Vec<u8>, field: u32, first: &[u8]) {
    let mut front = Vec::with_capacity(16 + first.len());
    tag(&mut front, field, 2);
    varint(&mut front, (first.len() + out.len()) as u64);
    front.extend_from_slice(first);
    out.splice(..0, front);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, v: &[u8]) {
    if !v.is_empty() {
        set_bytes(out, field, v);
    }
}

/// A message inside the message: `fill` appends its fields, the length is put in front afterwards. An error of `fill`
/// leaves the buffer as far as it was written.
pub(crate) fn try_message<E>(out: &mut Vec<u8>, field: u32, fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    tag(out, field, 2);
    let start = out.len();
    // Most messages are shorter than 128 bytes: one byte for the length, widened when that was wrong.
    out.push(0);
    fill(out)?;
    let len = out.len() - start - 1;
    if len < 0x80 {
        out[start] = len as u8;
    } else {
        let mut prefix = [0u8; 10];
        let (mut n, mut rest) = (0, len);
        while rest >= 0x80 {
            prefix[n] = rest as u8 | 0x80;
            rest >>= 7;
            n += 1;
        }
        prefix[n] = rest as u8;
        out.splice(start..=start, prefix[..=n].iter().copied());
    }
    Ok(())
}

/// [`try_message`] where nothing can fail.
pub(crate) fn message(out: &mut Vec<u8>, field: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let done: Result<(), std::convert::Infallible> = try_message(out, field, |out| {
        fill(out);
        Ok(())
    });
    match done {
        Ok(()) => {}
        Err(never) => match never {},
    }
}
