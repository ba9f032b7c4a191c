//! Go's quoted strings, as PromQL, LogQL and stream labels use them (`strconv.Unquote`, with `'` as a third quote).

use std::borrow::Cow;

/// The string literal that `text` starts with, and how many bytes it takes. Bytes that `\x` makes and that are not
/// UTF-8 become U+FFFD.
///
/// # Errors
/// What is wrong with it, in words.
pub fn quoted(text: &str) -> Result<(Cow<'_, str>, usize), &'static str> {
    let bytes = text.as_bytes();
    let quote = match bytes.first() {
        Some(q @ (b'"' | b'\'' | b'`')) => *q,
        _ => return Err("expected a quoted string"),
    };
    if quote == b'`' {
        let len = memchr::memchr(b'`', &bytes[1..]).ok_or("unterminated raw string")?;
        return Ok((Cow::Borrowed(&text[1..=len]), len + 2));
    }
    let mut i = 1;
    loop {
        match bytes.get(i) {
            Some(b) if *b == quote => return Ok((Cow::Borrowed(&text[1..i]), i + 1)),
            Some(b'\\') => break,
            None | Some(b'\n') => return Err("unterminated quoted string"),
            Some(_) => i += 1,
        }
    }
    let mut out = bytes[1..i].to_vec();
    loop {
        match bytes.get(i) {
            Some(b) if *b == quote => {
                let text = String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
                return Ok((Cow::Owned(text), i + 1));
            }
            Some(b'\\') => i += 1 + escape(&bytes[i + 1..], quote, &mut out)?,
            None | Some(b'\n') => return Err("unterminated quoted string"),
            Some(b) => {
                out.push(*b);
                i += 1;
            }
        }
    }
}

/// One escape after its backslash; returns how many bytes it takes.
fn escape(rest: &[u8], quote: u8, out: &mut Vec<u8>) -> Result<usize, &'static str> {
    const BAD: &str = "unknown escape sequence";
    let simple = match rest.first() {
        Some(b'a') => 7,
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'v') => 11,
        Some(b'\\') => b'\\',
        Some(b) if *b == quote => quote,
        Some(b'x') => {
            out.push(number(rest.get(1..3), 16)? as u8);
            return Ok(3);
        }
        Some(b'0'..=b'7') => {
            out.push(u8::try_from(number(rest.get(..3), 8)?).map_err(|_| BAD)?);
            return Ok(3);
        }
        Some(b @ (b'u' | b'U')) => {
            let len = if *b == b'u' { 4 } else { 8 };
            let c = char::from_u32(number(rest.get(1..=len), 16)?).ok_or("escape is no Unicode code point")?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(1 + len);
        }
        _ => return Err(BAD),
    };
    out.push(simple);
    Ok(1)
}

fn number(digits: Option<&[u8]>, radix: u32) -> Result<u32, &'static str> {
    const BAD: &str = "incomplete escape sequence";
    let digits = digits.ok_or(BAD)?;
    digits.iter().try_fold(0u32, |n, b| Ok(n * radix + char::from(*b).to_digit(radix).ok_or(BAD)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_as_go_reads_them() {
        for (text, value, len) in [
            (r#""plain" rest"#, "plain", 7),
            (r"`raw\n`", r"raw\n", 7),
            (r#""a\tb\"c\\""#, "a\tb\"c\\", 11),
            (r"'it\'s'", "it's", 7),
            (r#""\x41\101\u00e9\U0001F600""#, "AAé😀", 26),
            (r#""\xc3\xa9""#, "é", 10),
            (r#""\xff""#, "\u{fffd}", 6),
        ] {
            assert_eq!(quoted(text), Ok((Cow::Borrowed(value), len)), "{text}");
        }
        for bad in [r#""open"#, "`open", r#""\q""#, r#""\u12""#, r#""\'""#, r#""\777""#, r#""\ud800""#, "bare", "", "\"a\nb\""] {
            assert!(quoted(bad).is_err(), "{bad}");
        }
    }
}
