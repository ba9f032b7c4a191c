//! `ip("…")`: addresses in texts.

use std::net::IpAddr;

/// One address, a range of them, or a network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum IpRange {
    One(IpAddr),
    Between(IpAddr, IpAddr),
    /// Network and length of its prefix.
    Network(IpAddr, u8),
}

/// Said where an `ip()` stands behind an operator that takes none.
pub(crate) const INVALID_OPERATION: &str = "ip: invalid operation";

impl IpRange {
    /// Reads `10.0.0.1`, `10.0.0.1-10.0.0.9`, `10.0.0.0/8`, and the same of IPv6.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("ip: invalid pattern: {}", template::quote(text));
        if let Ok(one) = text.parse() {
            return Ok(Self::One(one));
        }
        if let Some((network, bits)) = text.split_once('/') {
            let network: IpAddr = network.parse().map_err(|_| bad())?;
            let most = if network.is_ipv4() { 32 } else { 128 };
            let plain = bits.bytes().all(|b| b.is_ascii_digit()) && !(bits.len() > 1 && bits.starts_with('0'));
            let bits: u8 = bits.parse().ok().filter(|b| plain && *b <= most).ok_or_else(bad)?;
            return Ok(Self::Network(network, bits));
        }
        let (from, to) = text.split_once('-').ok_or_else(bad)?;
        let (from, to): (IpAddr, IpAddr) = (from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?);
        if from.is_ipv4() != to.is_ipv4() || from > to {
            return Err(bad());
        }
        Ok(Self::Between(from, to))
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match self {
            Self::One(one) => *one == ip,
            Self::Between(from, to) => from.is_ipv4() == ip.is_ipv4() && *from <= ip && ip <= *to,
            Self::Network(network, bits) => match (network, ip) {
                (IpAddr::V4(n), IpAddr::V4(ip)) => {
                    let shift = 32 - u32::from(*bits);
                    (n.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
                }
                (IpAddr::V6(n), IpAddr::V6(ip)) => {
                    let shift = 128 - u32::from(*bits);
                    (n.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
                }
                _ => false,
            },
        }
    }

    /// Whether an address of the range stands somewhere in `text`.
    pub(crate) fn in_text(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let hex = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_hexdigit);
        let is = |i: usize, c: u8| bytes.get(i) == Some(&c);
        let mut i = 0;
        while i < bytes.len() {
            // As Loki looks for them: a digit with a dot near by, hexadecimal digits before a colon.
            let v4 = i + 3 < bytes.len() && bytes[i].is_ascii_digit() && (is(i + 1, b'.') || is(i + 2, b'.') || is(i + 3, b'.'));
            let v6 = !v4
                && i + 4 < bytes.len()
                && ((is(i, b':') && is(i + 1, b':') && hex(i + 2))
                    || (1..=4).any(|n| (0..n).all(|j| hex(i + j)) && is(i + n, b':')));
            if !v4 && !v6 {
                i += 1;
                continue;
            }
            let inside = |b: &u8| b.is_ascii_digit() || *b == b'.' || (v6 && (b.is_ascii_hexdigit() || *b == b':'));
            let length = bytes[i..].iter().take_while(|b| inside(b)).count();
            if text[i..i + length].parse().is_ok_and(|ip| self.contains(ip)) {
                return true;
            }
            i += length + 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_texts() {
        let found = |range: &str, text: &str| IpRange::parse(range).is_ok_and(|r| r.in_text(text));
        assert!(found("192.168.1.0/24", "src 192.168.1.10 ok"));
        assert!(!found("192.168.1.0/24", "src 192.168.2.10 ok"));
        assert!(found("10.0.0.1-10.0.0.9", "a=10.0.0.9,"));
        assert!(found("2001:db8::/32", "at 2001:db8::1!"));
        assert!(found("0.0.0.0/0", "1.2.3.4"));
        assert!(found("::1", "[::1]:80"));
        assert!(!found("1.2.3.4", "no ip"));
        for bad in ["", "notanip", "1.2.3.4/33", "1.2.3.4-::1", "10.0.0.9-10.0.0.1", "1.2.3.4/08"] {
            assert!(IpRange::parse(bad).is_err(), "{bad}");
        }
    }
}
