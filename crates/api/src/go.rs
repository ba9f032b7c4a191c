//! Numbers in parameters, with the words that the originals have for what is none: those of Go's `strconv`.

/// `strconv.Atoi`.
pub(crate) fn atoi(text: &str) -> Result<i64, String> {
    integer("Atoi", text)
}

/// `strconv.ParseInt` of base 10 and 64 bits.
pub(crate) fn parse_int(text: &str) -> Result<i64, String> {
    integer("ParseInt", text)
}

/// `strconv.ParseUint` of base 10 and 32 bits.
pub(crate) fn parse_u32(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| wrong("ParseUint", text, digits))
}

/// `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(wrong("ParseBool", text, false)),
    }
}

/// `time.ParseDuration`, nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    if let Some(ns) = syntax::go_duration(text, &[]) {
        return Ok(ns);
    }
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let invalid = || Err(format!("time: invalid duration {text:?}"));
    if rest.is_empty() {
        return invalid();
    }
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, tail) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        if !number.contains(|c: char| c.is_ascii_digit()) {
            return invalid();
        }
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        match unit {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h" => rest = tail,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        }
    }
    // Too long, or two points in a number.
    invalid()
}

fn integer(function: &str, text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| wrong(function, text, digits))
}

fn wrong(function: &str, text: &str, is_number: bool) -> String {
    format!("strconv.{function}: parsing {text:?}: {}", if is_number { "value out of range" } else { "invalid syntax" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_refused_as_by_go() {
        assert_eq!((atoi("-7"), atoi("+7"), parse_int("007")), (Ok(-7), Ok(7), Ok(7)));
        assert_eq!((parse_u32("4294967295"), parse_bool("T")), (Ok(u32::MAX), Ok(true)));
        assert_eq!(atoi("x"), Err("strconv.Atoi: parsing \"x\": invalid syntax".to_owned()));
        assert_eq!(parse_int(""), Err("strconv.ParseInt: parsing \"\": invalid syntax".to_owned()));
        assert_eq!(
            atoi("9223372036854775808"),
            Err("strconv.Atoi: parsing \"9223372036854775808\": value out of range".to_owned())
        );
        assert_eq!(parse_u32("4294967296"), Err("strconv.ParseUint: parsing \"4294967296\": value out of range".to_owned()));
        for none in ["+1", "-1", "1.5", ""] {
            assert!(parse_u32(none).is_err(), "{none}");
        }
        assert_eq!(parse_duration("1h1.5s"), Ok(3_601_500_000_000));
        for (text, why) in [
            ("", "time: invalid duration \"\""),
            ("x", "time: invalid duration \"x\""),
            ("10", "time: missing unit in duration \"10\""),
            ("10seconds", "time: unknown unit \"seconds\" in duration \"10seconds\""),
            ("9999999h", "time: invalid duration \"9999999h\""),
        ] {
            assert_eq!(parse_duration(text), Err(why.to_owned()));
        }
        assert_eq!(parse_bool("yes"), Err("strconv.ParseBool: parsing \"yes\": invalid syntax".to_owned()));
    }
}
