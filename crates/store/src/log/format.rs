//! The bytes of a log file, version 1. All numbers are little-endian.
//!
//! A file begins with a block of 4,096 bytes that holds the same header twice, at 0 and at 2,048:
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 8 | `BRAIDLOG` |
//! | 8 | 4 | format version |
//! | 12 | 4 | CRC-32C of the bytes 16..32 and 0..12 |
//! | 16 | 8 | first sequence |
//! | 24 | 8 | salt, random for each file |
//!
//! Records follow without gaps:
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 4 | `BRr1` |
//! | 4 | 4 | CRC-32C of salt and the bytes 8..40 |
//! | 8 | 4 | body length: tenant and payload |
//! | 12 | 4 | CRC-32C of the body |
//! | 16 | 8 | sequence |
//! | 24 | 8 | received, nanoseconds since the Unix epoch |
//! | 32 | 1 | encoding ([`wire::Encoding`]) |
//! | 33 | 1 | tenant length |
//! | 34 | 6 | zero |
//! | 40 | | tenant, payload |
//!
//! *Why a salt, and a checksum of its own for the header:* after damage a reader looks for the next `BRr1`. A payload may
//! hold these bytes, even a whole valid record of another log; without knowing the salt nobody can make a payload that is
//! taken for a record, and a false start is refused after 40 bytes instead of after a body of any length.

use bytes::Bytes;
use model::Tenant;
use wire::{Encoding, Signal};

use crate::Record;

/// The version that is written.
pub const VERSION: u32 = 1;
/// Bytes before the first record.
pub const HEADER_BLOCK: u64 = 4096;
/// Bytes of a record before its body.
pub const RECORD_HEADER: usize = 40;
/// The largest body that is written or believed.
pub const MAX_BODY: usize = 512 << 20;
/// What a record begins with.
pub const RECORD_MAGIC: [u8; 4] = *b"BRr1";

const FILE_MAGIC: [u8; 8] = *b"BRAIDLOG";
const FILE_HEADER: usize = 32;
const SECOND_COPY: usize = 2048;

/// What a file's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// Format version.
    pub version: u32,
    /// Sequence of the first record.
    pub first: u64,
    /// Seed of the record headers' checksums.
    pub salt: u64,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

impl FileHeader {
    fn crc(bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&bytes[16..32]), &bytes[..12])
    }

    /// The block that a file begins with.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut copy = [0u8; FILE_HEADER];
        copy[..8].copy_from_slice(&FILE_MAGIC);
        copy[8..12].copy_from_slice(&self.version.to_le_bytes());
        copy[16..24].copy_from_slice(&self.first.to_le_bytes());
        copy[24..32].copy_from_slice(&self.salt.to_le_bytes());
        let crc = Self::crc(&copy);
        copy[12..16].copy_from_slice(&crc.to_le_bytes());
        let mut block = vec![0u8; HEADER_BLOCK as usize];
        block[..FILE_HEADER].copy_from_slice(&copy);
        block[SECOND_COPY..SECOND_COPY + FILE_HEADER].copy_from_slice(&copy);
        block
    }

    /// Reads the first intact copy; `None` when neither is.
    #[must_use]
    pub fn decode(block: &[u8]) -> Option<Self> {
        [0, SECOND_COPY].into_iter().find_map(|at| {
            let copy = block.get(at..at + FILE_HEADER)?;
            let intact = copy[..8] == FILE_MAGIC && u32_at(copy, 12) == Self::crc(copy);
            intact.then(|| Self { version: u32_at(copy, 8), first: u64_at(copy, 16), salt: u64_at(copy, 24) })
        })
    }
}

/// An intact record header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of tenant and payload.
    pub body: usize,
    crc: u32,
    /// Position in the log.
    pub sequence: u64,
    received: i64,
    encoding: u8,
    tenant: u8,
}

/// Why an intact header with a body is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadBody {
    /// The body's checksum does not fit.
    Checksum,
    /// An encoding that this version does not know, or a tenant that is none: intact, but not for us.
    Unknown,
}

/// Checksum of a record header.
fn header_crc(salt: u64, header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &header[8..RECORD_HEADER])
}

/// The header of a record; tenant and payload are to follow it.
#[must_use]
pub fn encode_header(
    salt: u64,
    sequence: u64,
    received: i64,
    tenant: &Tenant,
    encoding: Encoding,
    payload: &[u8],
) -> [u8; RECORD_HEADER] {
    let name = tenant.as_str().as_bytes();
    let mut h = [0u8; RECORD_HEADER];
    h[..4].copy_from_slice(&RECORD_MAGIC);
    // Both bounded by their makers: a tenant has at most 150 bytes, a payload at most MAX_BODY.
    h[8..12].copy_from_slice(&((name.len() + payload.len()) as u32).to_le_bytes());
    h[12..16].copy_from_slice(&crc32c::crc32c_append(crc32c::crc32c(name), payload).to_le_bytes());
    h[16..24].copy_from_slice(&sequence.to_le_bytes());
    h[24..32].copy_from_slice(&received.to_le_bytes());
    h[32] = encoding as u8;
    h[33] = name.len() as u8;
    let crc = header_crc(salt, &h);
    h[4..8].copy_from_slice(&crc.to_le_bytes());
    h
}

impl RecordHeader {
    /// The header at the beginning of `bytes`, if an intact one is there.
    #[must_use]
    pub fn decode(salt: u64, bytes: &[u8]) -> Option<Self> {
        let h = bytes.get(..RECORD_HEADER)?;
        if h[..4] != RECORD_MAGIC || u32_at(h, 4) != header_crc(salt, h) {
            return None;
        }
        let body = u32_at(h, 8) as usize;
        let header = Self {
            body,
            crc: u32_at(h, 12),
            sequence: u64_at(h, 16),
            received: u64_at(h, 24) as i64,
            encoding: h[32],
            tenant: h[33],
        };
        (body <= MAX_BODY + 255 && usize::from(header.tenant) <= body).then_some(header)
    }

    /// Header and body together.
    #[must_use]
    pub fn total(&self) -> u64 {
        (RECORD_HEADER + self.body) as u64
    }

    /// What the record carries; `None` for an encoding that this version does not know.
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        Encoding::try_from(self.encoding).ok().map(Encoding::signal)
    }

    /// The record that this header and its `body` make.
    ///
    /// # Errors
    /// [`BadBody`].
    pub fn record(&self, body: &Bytes) -> Result<Record, BadBody> {
        if crc32c::crc32c(body) != self.crc {
            return Err(BadBody::Checksum);
        }
        let name = body.slice(..usize::from(self.tenant));
        let tenant = std::str::from_utf8(&name).ok().and_then(|n| Tenant::new(n).ok()).ok_or(BadBody::Unknown)?;
        let encoding = Encoding::try_from(self.encoding).map_err(|_| BadBody::Unknown)?;
        let payload = body.slice(usize::from(self.tenant)..);
        Ok(Record { sequence: self.sequence, tenant, encoding, received: self.received, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_only_under_its_own_salt_and_only_undamaged() {
        let tenant = Tenant::new("team-a").expect("valid");
        let head = encode_header(7, 42, -5, &tenant, Encoding::LokiPush, b"payload");
        let body = Bytes::from_static(b"team-apayload");
        let header = RecordHeader::decode(7, &head).expect("intact");
        let record = header.record(&body).expect("intact");
        assert_eq!((record.sequence, record.received, record.encoding), (42, -5, Encoding::LokiPush));
        assert_eq!((record.tenant, &record.payload[..]), (tenant, &b"payload"[..]));
        assert_eq!(RecordHeader::decode(8, &head), None);
        for byte in 0..RECORD_HEADER {
            let mut bad = head;
            bad[byte] ^= 1;
            assert_eq!(RecordHeader::decode(7, &bad), None, "byte {byte}");
        }
        assert_eq!(header.record(&Bytes::from_static(b"team-apayloaD")).map(|r| r.sequence), Err(BadBody::Checksum));
    }

    #[test]
    fn a_file_header_survives_the_loss_of_either_copy() {
        let header = FileHeader { version: VERSION, first: 9, salt: 77 };
        for at in [3, 13, 20, 30] {
            for copy in [0, SECOND_COPY] {
                let mut block = header.encode();
                block[copy + at] ^= 0x10;
                assert_eq!(FileHeader::decode(&block), Some(header));
                block[SECOND_COPY - copy + at] ^= 0x10;
                assert_eq!(FileHeader::decode(&block), None);
            }
        }
    }
}
