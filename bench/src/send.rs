//! A plain HTTP/1.1 client over one kept-alive connection: one request in flight, retries on 429 and 5xx.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shapes::Payload;

/// `http://host:port/path` in its parts.
#[derive(Clone)]
pub(crate) struct Url {
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl std::str::FromStr for Url {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        let rest = text.strip_prefix("http://").context("the URL must start with http://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Ok(Self { authority: authority.to_owned(), path: if path.is_empty() { "/".to_owned() } else { path.to_owned() } })
    }
}

/// What a connection saw.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) items: u64,
    pub(crate) retries: u64,
    pub(crate) failed: u64,
    pub(crate) first_error: Option<String>,
    /// Microseconds a request, retries included.
    pub(crate) latencies: Vec<u64>,
}

/// Status and body of one request.
pub(crate) fn request(url: &Url, method: &str, headers: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
    Connection::open(url)?.exchange(&url.path, method, headers, body)
}

/// A connection that is kept open.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    authority: String,
}

impl Connection {
    /// Connects to the URL's host.
    pub(crate) fn open(url: &Url) -> Result<Self> {
        let stream = TcpStream::connect(&url.authority).with_context(|| format!("connecting to {}", url.authority))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(600)))?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream), authority: url.authority.clone() })
    }

    /// Sends one request and reads its answer: status and body.
    pub(crate) fn exchange(&mut self, path: &str, method: &str, headers: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let authority = &self.authority;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        answer(&mut self.stream, &head, body)
    }
}

fn answer(connection: &mut BufReader<TcpStream>, head: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
    let stream = connection.get_mut();
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status: u16 = line.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status line")?;
    let mut length = 0;
    let mut chunked = false;
    loop {
        line.clear();
        if connection.read_line(&mut line)? == 0 {
            bail!("the connection closed inside the headers");
        }
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
    }
    let mut answer = Vec::new();
    if chunked {
        loop {
            line.clear();
            connection.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16)?;
            let at = answer.len();
            answer.resize(at + size, 0);
            connection.read_exact(&mut answer[at..])?;
            line.clear();
            connection.read_line(&mut line)?;
            if size == 0 {
                return Ok((status, answer));
            }
        }
    }
    answer.resize(length, 0);
    connection.read_exact(&mut answer)?;
    Ok((status, answer))
}

/// Sends the payloads in order.
pub(crate) fn send(url: &Url, headers: &str, payloads: &[Payload]) -> Sent {
    let mut sent = Sent::default();
    let mut connection = Connection::open(url).ok();
    for payload in payloads {
        let begun = Instant::now();
        for attempt in 0.. {
            let answer = match &mut connection {
                Some(open) => open.exchange(&url.path, "POST", headers, &payload.body),
                None => Err(anyhow::anyhow!("no connection")),
            };
            let error = match answer {
                Ok((200..=299, _)) => {
                    sent.items += payload.items;
                    break;
                }
                Ok((status, body)) => {
                    let retryable = status == 429 || status >= 500;
                    (retryable, format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)])))
                }
                Err(e) => {
                    connection = Connection::open(url).ok();
                    (true, e.to_string())
                }
            };
            sent.first_error.get_or_insert(error.1);
            if !error.0 || attempt == 200 {
                sent.failed += 1;
                break;
            }
            sent.retries += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
        sent.latencies.push(begun.elapsed().as_micros() as u64);
    }
    sent
}
