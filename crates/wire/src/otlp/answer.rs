//! What a receiver answers: `Export*ServiceResponse`, and gRPC's `google.rpc.Status`.

use std::time::Duration;

use crate::WireError;
use crate::protobuf::Reader;

/// A receiver's `partial_success`: how many items it left out, and its message. Both empty for a whole success; the three
/// signals' answers are one on the wire.
///
/// # Errors
/// [`WireError`] when `answer` is no such message.
pub fn partial_success(answer: &[u8]) -> Result<(u64, String), WireError> {
    let (mut rejected, mut message) = (0, String::new());
    let mut r = Reader::new(answer);
    while let Some(f) = r.field("ExportServiceResponse")? {
        if f.number == 1 {
            let mut r = f.message()?;
            while let Some(f) = r.field("ExportPartialSuccess")? {
                match f.number {
                    1 => rejected = u64::try_from(f.varint()? as i64).unwrap_or_default(),
                    2 => message = f.string("error_message")?.to_owned(),
                    _ => {}
                }
            }
        }
    }
    Ok((rejected, message))
}

/// The delay that a `google.rpc.Status` asks for in its `RetryInfo`, if it has one.
///
/// # Errors
/// [`WireError`] when `status` is no such message.
pub fn retry_delay(status: &[u8]) -> Result<Option<Duration>, WireError> {
    let mut r = Reader::new(status);
    while let Some(f) = r.field("Status")? {
        if f.number != 3 {
            continue;
        }
        let (mut kind, mut value) = ("", Reader::new(&[]));
        let mut r = f.message()?;
        while let Some(f) = r.field("Any")? {
            match f.number {
                1 => kind = f.string("type_url")?,
                2 => value = f.message()?,
                _ => {}
            }
        }
        if kind.ends_with("google.rpc.RetryInfo") {
            return delay(value).map(Some);
        }
    }
    Ok(None)
}

fn delay(mut r: Reader<'_>) -> Result<Duration, WireError> {
    let mut total = Duration::ZERO;
    while let Some(f) = r.field("RetryInfo")? {
        if f.number == 1 {
            let mut r = f.message()?;
            while let Some(f) = r.field("Duration")? {
                let n = u64::try_from(f.varint()? as i64).unwrap_or_default();
                total = total.saturating_add(if f.number == 1 { Duration::from_secs(n) } else { Duration::from_nanos(n) });
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::write;

    #[test]
    fn answers_are_read_and_garbage_is_an_error() {
        assert_eq!(partial_success(b""), Ok((0, String::new())));
        let mut answer = Vec::new();
        write::message(&mut answer, 1, |out| {
            write::put_varint(out, 1, 3);
            write::put_bytes(out, 2, b"too old");
        });
        assert_eq!(partial_success(&answer), Ok((3, "too old".to_owned())));
        assert!(partial_success(b"<html>").is_err());

        let mut status = Vec::new();
        write::put_varint(&mut status, 1, 14);
        write::message(&mut status, 3, |out| {
            write::put_bytes(out, 1, b"type.googleapis.com/google.rpc.RetryInfo");
            write::message(out, 2, |out| {
                write::message(out, 1, |out| {
                    write::put_varint(out, 1, 2);
                    write::put_varint(out, 2, 500_000_000);
                });
            });
        });
        assert_eq!(retry_delay(&status), Ok(Some(Duration::from_millis(2500))));
        assert_eq!(retry_delay(b""), Ok(None));
    }
}
