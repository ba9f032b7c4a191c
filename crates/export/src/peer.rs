//! The other side: a client, and how its answers are to be read.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use model::Tenant;
use wire::Signal;

use crate::client::{Answer, Client};
use crate::retry::retry_after;
use crate::settings::{Compression, Peer, Settings};

/// A request's body, ready to be sent as often as it takes.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    /// As it goes over the wire.
    pub(crate) body: Bytes,
    /// Spans, log records or data points in it.
    pub(crate) items: u64,
    /// Whose, where the other side is told.
    pub(crate) tenant: Option<Tenant>,
}

/// How an attempt went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Taken, but for `rejected` items.
    Taken {
        /// Items that the other side left out for good.
        rejected: u64,
        /// Its words.
        why: String,
    },
    /// Not now.
    Later {
        /// What went wrong.
        why: String,
        /// How long the other side asks to wait.
        after: Option<Duration>,
    },
    /// Never.
    Never {
        /// What the other side says.
        why: String,
        /// Whether some of it may be taken when it comes without the rest.
        divide: bool,
    },
}

/// A peer for one signal.
#[derive(Debug)]
pub(crate) struct Remote {
    client: Client,
    reads: Reads,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Grpc,
    Otlp,
    RemoteWrite,
    Plain,
}

impl Remote {
    /// The other side of `settings` for `signal`.
    ///
    /// # Errors
    /// What cannot be read or used.
    pub(crate) fn new(settings: &Settings, signal: Signal) -> Result<Self, String> {
        let http = &settings.http;
        let encoding = match http.compression {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
        };
        let protobuf = "application/x-protobuf";
        let (url, kind, encoding, more, reads): (String, &str, _, Vec<(&'static str, &str)>, Reads) = match &settings.peer {
            Peer::OtlpGrpc => {
                let service = match signal {
                    Signal::Traces => "trace.v1.TraceService",
                    Signal::Logs => "logs.v1.LogsService",
                    Signal::Metrics => "metrics.v1.MetricsService",
                };
                let base = http.endpoint.trim_end_matches('/');
                let url = format!("{base}/opentelemetry.proto.collector.{service}/Export");
                let mut more = vec![("te", "trailers")];
                more.extend(encoding.map(|e| ("grpc-encoding", e)));
                (url, "application/grpc", None, more, Reads::Grpc)
            }
            Peer::OtlpHttp(urls) => (urls[signal as usize].clone(), protobuf, encoding, Vec::new(), Reads::Otlp),
            Peer::Loki { .. } => (http.endpoint.clone(), protobuf, None, Vec::new(), Reads::Plain),
            Peer::RemoteWrite { .. } => {
                let more = vec![("x-prometheus-remote-write-version", "0.1.0")];
                (http.endpoint.clone(), protobuf, Some("snappy"), more, Reads::RemoteWrite)
            }
            Peer::Datadog { urls, .. } => {
                let kind = if signal == Signal::Traces { protobuf } else { "application/json" };
                (urls[signal as usize].clone(), kind, encoding, Vec::new(), Reads::Plain)
            }
        };
        let mut fixed = vec![("content-type", kind)];
        fixed.extend(encoding.map(|e| ("content-encoding", e)));
        fixed.extend(more);
        Ok(Self { client: Client::new(http, &url, &fixed, reads == Reads::Grpc)?, reads })
    }

    /// Sends a parcel once.
    pub(crate) async fn send(&self, parcel: &Parcel) -> Outcome {
        let tenant = parcel.tenant.as_ref().and_then(|t| HeaderValue::from_str(t.as_str()).ok());
        let more: Vec<(&'static str, HeaderValue)> = tenant.into_iter().map(|t| ("x-scope-orgid", t)).collect();
        match self.client.post(parcel.body.clone(), &more).await {
            Ok(answer) => judge(self.reads, &answer),
            Err(why) => Outcome::Later { why, after: None },
        }
    }
}

fn judge(reads: Reads, answer: &Answer) -> Outcome {
    if reads == Reads::Grpc && answer.status == StatusCode::OK {
        return judge_grpc(answer);
    }
    let status = answer.status;
    if status.is_success() {
        let part = if reads == Reads::Otlp { wire::otlp::partial_success(&answer.body) } else { Ok((0, String::new())) };
        // The status says that it was taken; what the body says instead of an answer changes nothing.
        let (rejected, why) = part.unwrap_or_default();
        return Outcome::Taken { rejected, why };
    }
    let why = format!("{status}: {}", excerpt(&answer.body));
    let again = status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    match again {
        true => Outcome::Later { why, after: answer.header("retry-after").and_then(|v| retry_after(v, SystemTime::now())) },
        // A receiver that says how much it has written has kept what it could; others may have kept nothing for one bad sample.
        false => Outcome::Never {
            why,
            divide: reads == Reads::RemoteWrite
                && status == StatusCode::BAD_REQUEST
                && !answer.headers.contains_key("x-prometheus-remote-write-samples-written"),
        },
    }
}

/// gRPC's status, as the OTLP specification reads it.
fn judge_grpc(answer: &Answer) -> Outcome {
    let status: Option<u32> = answer.header("grpc-status").and_then(|s| s.parse().ok());
    let message = answer.header("grpc-message").unwrap_or_default();
    let why = |status: u32| format!("gRPC status {status}: {}", excerpt(message.as_bytes()));
    match status {
        Some(0) => {
            // A message is preceded by a flag and its length.
            let body = answer.body.get(5..).unwrap_or_default();
            let (rejected, why) = wire::otlp::partial_success(body).unwrap_or_default();
            Outcome::Taken { rejected, why }
        }
        Some(status) => {
            let after = answer.header("grpc-status-details-bin").and_then(details);
            // Cancelled, deadline exceeded, aborted, out of range, unavailable, data loss; exhausted where it says for how long.
            let again = matches!(status, 1 | 4 | 10 | 11 | 14 | 15) || (status == 8 && after.is_some());
            if again { Outcome::Later { why: why(status), after } } else { Outcome::Never { why: why(status), divide: false } }
        }
        None => Outcome::Later { why: "an answer without a gRPC status".to_owned(), after: None },
    }
}

fn details(header: &str) -> Option<Duration> {
    use base64::Engine;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let any = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&base64::alphabet::STANDARD, any).decode(header.trim()).ok()?;
    wire::otlp::retry_delay(&bytes).ok().flatten()
}

/// The beginning of what somebody else wrote, on one line.
fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.get(..300).unwrap_or(text));
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &'static [u8]) -> Answer {
        let headers: HeaderMap = headers.iter().map(|(n, v)| (n.parse().expect("a name"), v.parse().expect("a value"))).collect();
        let status = StatusCode::from_u16(status).expect("a status");
        Answer { status, headers, body: Bytes::from_static(body), trailers: HeaderMap::new() }
    }

    fn word(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Taken { .. } => "taken",
            Outcome::Later { .. } => "later",
            Outcome::Never { .. } => "never",
        }
    }

    #[test]
    fn of_http_only_what_may_go_better_is_sent_again() {
        for (status, expected) in [
            (200, "taken"),
            (202, "taken"),
            (204, "taken"),
            (301, "never"),
            (400, "never"),
            (401, "never"),
            (404, "never"),
            (408, "later"),
            (413, "never"),
            (429, "later"),
            (500, "later"),
            (503, "later"),
        ] {
            assert_eq!(word(&judge(Reads::Plain, &answer(status, &[], b"<html>no</html>"))), expected, "{status}");
        }
        let wait = judge(Reads::Otlp, &answer(503, &[("retry-after", "7")], b""));
        assert!(matches!(wait, Outcome::Later { after: Some(d), .. } if d == Duration::from_secs(7)));
        let divide = |reads, headers: &[(&'static str, &str)]| {
            judge(reads, &answer(400, headers, b"")) == Outcome::Never { why: "400 Bad Request: ".into(), divide: true }
        };
        assert!(divide(Reads::RemoteWrite, &[]) && !divide(Reads::Plain, &[]));
        assert!(!divide(Reads::RemoteWrite, &[("x-prometheus-remote-write-samples-written", "3")]));
        let part = judge(Reads::Otlp, &answer(200, &[], b"\x0a\x05\x08\x02\x12\x01x"));
        assert_eq!(part, Outcome::Taken { rejected: 2, why: "x".into() });
        assert_eq!(word(&judge(Reads::Otlp, &answer(200, &[], b"garbage"))), "taken");
    }

    #[test]
    fn of_grpc_the_status_decides() {
        for (code, expected) in [("0", "taken"), ("3", "never"), ("8", "never"), ("14", "later"), ("16", "never"), ("4", "later")]
        {
            assert_eq!(word(&judge(Reads::Grpc, &answer(200, &[("grpc-status", code)], b""))), expected, "{code}");
        }
        assert_eq!(word(&judge(Reads::Grpc, &answer(200, &[], b"hello"))), "later", "no gRPC at all");
        assert_eq!(word(&judge(Reads::Grpc, &answer(503, &[], b""))), "later");
        let part = judge(Reads::Grpc, &answer(200, &[("grpc-status", "0")], b"\0\0\0\0\x07\x0a\x05\x08\x02\x12\x01x"));
        assert_eq!(part, Outcome::Taken { rejected: 2, why: "x".into() });
    }
}
