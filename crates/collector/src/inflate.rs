//! Undoing `Content-Encoding` and gRPC message compression, with the limits checked while inflating: a bomb is refused
//! after the limit's bytes, not after it went off.

use std::io::Read;

use crate::{Held, Refusal};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentEncoding {
    /// Not at all.
    Identity,
    /// RFC 1952; several members are one body.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// RFC 1950 (what HTTP means by it) or, as Go's clients send it, bare RFC 1951.
    Deflate,
}

/// Zstandard windows are kept to 8 MiB, the size that RFC 8878 (3.1.1.1.2) asks decoders for: the window is memory
/// that the sender chooses.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The least that the output grows by.
const STEP: usize = 256 * 1024;

impl ContentEncoding {
    /// What the header's value names; `snappy` is not among them, being part of the message where it occurs.
    ///
    /// # Errors
    /// [`Refusal::ContentEncoding`] for every other name.
    pub fn parse(header: &[u8]) -> Result<Self, Refusal> {
        let name = header.trim_ascii();
        let is = |n: &str| name.eq_ignore_ascii_case(n.as_bytes());
        match () {
            () if name.is_empty() || is("identity") => Ok(Self::Identity),
            () if is("gzip") || is("x-gzip") => Ok(Self::Gzip),
            () if is("zstd") => Ok(Self::Zstd),
            () if is("deflate") => Ok(Self::Deflate),
            () => Err(Refusal::ContentEncoding {
                found: String::from_utf8_lossy(name).into_owned(),
                expected: "gzip, zstd, deflate and identity are",
            }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
        }
    }
}

/// The bytes behind `body`: at most `limit` of them, all of them accounted for in `held` while they are made.
///
/// # Errors
/// [`Refusal::TooLarge`], [`Refusal::InFlight`] (budget), [`Refusal::Inflate`] (damaged, or cut off).
pub fn inflate(encoding: ContentEncoding, body: &[u8], limit: usize, held: &mut Held) -> Result<Vec<u8>, Refusal> {
    let fail = |e: std::io::Error| Refusal::Inflate { encoding: encoding.name(), reason: e.to_string() };
    let (hint, mut decoder): (usize, Box<dyn Read + '_>) = match encoding {
        ContentEncoding::Identity => (body.len(), Box::new(body)),
        ContentEncoding::Gzip => (gzip_size(body), Box::new(flate2::bufread::MultiGzDecoder::new(body))),
        ContentEncoding::Deflate if is_zlib(body) => (body.len() * 4, Box::new(flate2::bufread::ZlibDecoder::new(body))),
        ContentEncoding::Deflate => (body.len() * 4, Box::new(flate2::bufread::DeflateDecoder::new(body))),
        ContentEncoding::Zstd => (zstd_size(body), Box::new(zstd_decoder(body).map_err(fail)?)),
    };
    let compressed = body.len();
    // The hint is the sender's word: trusted only as far as bodies usually compress. One more, to see the end without growing.
    let first = hint.min(compressed.saturating_mul(16).max(STEP)).min(limit) + 1;
    held.at_least(compressed + first)?;
    let (mut out, mut filled) = (vec![0; first], 0);
    loop {
        if filled == out.len() {
            let size = filled.saturating_mul(2).max(STEP).min(limit + 1);
            held.at_least(compressed + size)?;
            out.resize(size, 0);
        }
        match decoder.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) => return Err(fail(e)),
        }
        if filled > limit {
            return Err(Refusal::TooLarge { what: "the inflated body", limit });
        }
    }
    out.truncate(filled);
    held.at_most(compressed + out.capacity());
    Ok(out)
}

fn zstd_decoder(body: &[u8]) -> std::io::Result<impl Read + '_> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

/// What the frame's header says, if it says.
fn zstd_size(body: &[u8]) -> usize {
    match zstd::zstd_safe::get_frame_content_size(body) {
        Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX),
        _ => body.len().saturating_mul(4),
    }
}

/// What the last member's trailer says (RFC 1952, ISIZE).
fn gzip_size(body: &[u8]) -> usize {
    body.last_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size) as usize)
}

/// Whether the bytes begin with a zlib header (RFC 1950, 2.2).
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [cmf, flg, ..] if cmf & 0x0f == 8 && u16::from_be_bytes([*cmf, *flg]).is_multiple_of(31))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;

    use super::*;
    use crate::Budget;

    const LIMIT: usize = 1 << 20;

    fn compress(encoding: ContentEncoding, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            ContentEncoding::Identity => out.extend_from_slice(plain),
            ContentEncoding::Gzip => {
                let mut w = flate2::write::GzEncoder::new(&mut out, Compression::fast());
                w.write_all(plain).expect("memory");
                w.finish().expect("memory");
            }
            ContentEncoding::Deflate => {
                let mut w = flate2::write::ZlibEncoder::new(&mut out, Compression::fast());
                w.write_all(plain).expect("memory");
                w.finish().expect("memory");
            }
            ContentEncoding::Zstd => out = zstd::encode_all(plain, 1).expect("memory"),
        }
        out
    }

    const ALL: [ContentEncoding; 4] =
        [ContentEncoding::Identity, ContentEncoding::Gzip, ContentEncoding::Zstd, ContentEncoding::Deflate];

    fn run(encoding: ContentEncoding, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let budget = Budget::new(64 << 20);
        inflate(encoding, body, LIMIT, &mut budget.hold())
    }

    #[test]
    fn every_encoding_gives_back_what_was_compressed() {
        for encoding in ALL {
            for size in [0, 1, 100, STEP - 1, STEP, STEP + 1, LIMIT] {
                let plain: Vec<u8> = (0..size).map(|i| (i * i / 7) as u8).collect();
                assert_eq!(run(encoding, &compress(encoding, &plain)).expect("valid"), plain, "{encoding:?} {size}");
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_without_holding_more_than_the_limit() {
        for encoding in ALL {
            let bomb = compress(encoding, &vec![0; 32 * LIMIT]);
            let budget = Budget::new(64 << 20);
            let mut held = budget.hold();
            let refusal = inflate(encoding, &bomb, LIMIT, &mut held).expect_err("too large");
            assert!(matches!(refusal, Refusal::TooLarge { limit: LIMIT, .. }), "{encoding:?}: {refusal}");
            assert!(budget.used() <= bomb.len() + LIMIT + 1, "{encoding:?}: {}", budget.used());
        }
    }

    #[test]
    fn inflating_stops_where_the_budget_ends() {
        let body = compress(ContentEncoding::Gzip, &vec![0; LIMIT]);
        let budget = Budget::new(LIMIT / 2);
        assert!(matches!(inflate(ContentEncoding::Gzip, &body, LIMIT, &mut budget.hold()), Err(Refusal::InFlight(_))));
        assert_eq!(budget.used(), 0, "given back");
    }

    #[test]
    fn damaged_and_cut_bodies_are_refused() {
        let plain: Vec<u8> = (0..10_000u32).flat_map(|i| (i * i).to_le_bytes()).collect();
        for encoding in [ContentEncoding::Gzip, ContentEncoding::Zstd, ContentEncoding::Deflate] {
            let whole = compress(encoding, &plain);
            for cut in [1, whole.len() / 2, whole.len() - 1] {
                assert!(matches!(run(encoding, &whole[..cut]), Err(Refusal::Inflate { .. })), "{encoding:?} cut at {cut}");
            }
            assert!(matches!(run(encoding, b"plain text"), Err(Refusal::Inflate { .. })), "{encoding:?}");
        }
    }

    #[test]
    fn bare_deflate_is_read_too() {
        let mut w = flate2::write::DeflateEncoder::new(Vec::new(), Compression::best());
        w.write_all(b"as Go sends it").expect("memory");
        assert_eq!(run(ContentEncoding::Deflate, &w.finish().expect("memory")).expect("valid"), b"as Go sends it");
    }
}
