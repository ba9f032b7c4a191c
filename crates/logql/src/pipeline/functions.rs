//! The functions of LogQL's templates: Loki's own, and those of sprig that it offers.

use std::sync::Arc;

use syntax::{go_lower, go_upper};
use template::Kind::{Any, Float, Int, Str, Time as TimeKind};
use template::{Functions, Kind, Map, Time, Value, quote};

use super::decimal;
use crate::regexp::compile;
use crate::units::{go_duration, parse_bytes, without_underscores};

type Result1 = Result<Value, String>;

/// No function makes a text longer than this.
const MOST: usize = 1 << 20;

const S: &[Kind] = &[Str];
const SS: &[Kind] = &[Str, Str];
const SSS: &[Kind] = &[Str, Str, Str];
const IS: &[Kind] = &[Int, Str];
const ANY: Option<Kind> = Some(Any);

fn s(v: &[Value], i: usize) -> &str {
    v.get(i).and_then(Value::as_str).unwrap_or("")
}

fn i(v: &[Value], at: usize) -> i64 {
    v.get(at).and_then(Value::as_int).unwrap_or(0)
}

fn text(t: impl AsRef<str>) -> Result1 {
    Ok(Value::text(t))
}

/// All of them, and `__line__` and `__timestamp__`.
pub(crate) fn functions() -> Functions {
    let mut f = Functions::new();
    f.add_local("__line__").add_local("__timestamp__");
    for name in ["ToLower", "lower"] {
        f.add(name, S, None, |v| text(s(v, 0).chars().map(go_lower).collect::<String>()));
    }
    for name in ["ToUpper", "upper"] {
        f.add(name, S, None, |v| text(s(v, 0).chars().map(go_upper).collect::<String>()));
    }
    f.add("Replace", &[Str, Str, Str, Int], None, |v| replace(s(v, 0), s(v, 1), s(v, 2), i(v, 3)));
    f.add("Trim", SS, None, |v| text(s(v, 0).trim_matches(|c| s(v, 1).contains(c))));
    f.add("TrimLeft", SS, None, |v| text(s(v, 0).trim_start_matches(|c| s(v, 1).contains(c))));
    f.add("TrimRight", SS, None, |v| text(s(v, 0).trim_end_matches(|c| s(v, 1).contains(c))));
    f.add("TrimPrefix", SS, None, |v| text(s(v, 0).strip_prefix(s(v, 1)).unwrap_or(s(v, 0))));
    f.add("TrimSuffix", SS, None, |v| text(s(v, 0).strip_suffix(s(v, 1)).unwrap_or(s(v, 0))));
    f.add("TrimSpace", S, None, |v| text(s(v, 0).trim()));
    f.add("trim", S, None, |v| text(s(v, 0).trim()));
    f.add("trimAll", SS, None, |v| text(s(v, 1).trim_matches(|c| s(v, 0).contains(c))));
    f.add("trimPrefix", SS, None, |v| text(s(v, 1).strip_prefix(s(v, 0)).unwrap_or(s(v, 1))));
    f.add("trimSuffix", SS, None, |v| text(s(v, 1).strip_suffix(s(v, 0)).unwrap_or(s(v, 1))));
    f.add("regexReplaceAll", SSS, None, |v| replace_matches(s(v, 0), s(v, 1), s(v, 2), true));
    f.add("regexReplaceAllLiteral", SSS, None, |v| replace_matches(s(v, 0), s(v, 1), s(v, 2), false));
    f.add("count", SS, None, |v| Ok(Value::Int(compile(s(v, 0))?.find_iter(s(v, 1)).count() as i64)));
    // Each call compiles its pattern.
    for name in ["regexReplaceAll", "regexReplaceAllLiteral", "count"] {
        f.costs(name, 100);
    }
    f.add("urldecode", S, None, |v| urldecode(s(v, 0)));
    f.add("urlencode", S, None, |v| text(urlencode(s(v, 0))));
    f.add("bytes", S, None, |v| Ok(Value::Float(parse_bytes(s(v, 0))? as f64)));
    for name in ["duration", "duration_seconds"] {
        f.add(name, S, None, |v| Ok(Value::Float(go_duration(s(v, 0))? as f64 / 1e9)));
    }
    f.add("alignLeft", IS, None, |v| align(i(v, 0), s(v, 1), true));
    f.add("alignRight", IS, None, |v| align(i(v, 0), s(v, 1), false));
    times(&mut f);
    texts(&mut f);
    numbers(&mut f);
    f
}

fn times(f: &mut Functions) {
    f.add("now", &[], None, |_| Ok(Value::Time(now())));
    f.add("date", &[Str, Any], None, |v| text(moment(v.get(1)).format(s(v, 0))));
    f.add("toDate", SS, None, |v| Ok(Value::Time(Time::parse(s(v, 0), s(v, 1), "UTC").unwrap_or_default())));
    f.add("toDateInZone", SSS, None, |v| Ok(Value::Time(Time::parse(s(v, 0), s(v, 2), s(v, 1)).unwrap_or_default())));
    f.add("unixEpoch", &[TimeKind], None, |v| text(moment(v.first()).seconds().to_string()));
    f.add("unixEpochMillis", &[TimeKind], None, |v| text(moment(v.first()).millis().to_string()));
    f.add("unixEpochNanos", &[TimeKind], None, |v| text(moment(v.first()).nanos().to_string()));
    f.add("unixToTime", S, None, |v| unix_to_time(s(v, 0)));
}

fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time::from_seconds(since.as_secs() as i64, since.subsec_nanos() as i32)
}

/// What sprig takes for a time; everything else is now.
fn moment(v: Option<&Value>) -> Time {
    match v {
        Some(Value::Time(t)) => t.clone(),
        Some(Value::Int(s) | Value::Int64(s)) => Time::from_seconds(*s, 0),
        _ => now(),
    }
}

fn unix_to_time(epoch: &str) -> Result1 {
    let number: i64 = match epoch.parse() {
        Ok(n) => n,
        Err(_) => {
            return Err(format!("unable to parse time '{epoch}': strconv.ParseInt: parsing {}: invalid syntax", quote(epoch)));
        }
    };
    let at = |scale: i64| {
        let unit = 1_000_000_000 / scale;
        Ok(Value::Time(Time::from_seconds(number.div_euclid(scale), (number.rem_euclid(scale) * unit) as i32)))
    };
    match epoch.len() {
        5 => Ok(Value::Time(Time::from_seconds(number.saturating_mul(86_400), 0))),
        10 => at(1),
        13 => at(1_000),
        16 => at(1_000_000),
        19 => at(1_000_000_000),
        _ => Err(format!("unable to parse time '{epoch}': %!w(<nil>)")),
    }
}

fn texts(f: &mut Functions) {
    f.add("b64enc", S, None, |v| text(base64_encode(s(v, 0).as_bytes())));
    f.add("b64dec", S, None, |v| {
        text(base64_decode(s(v, 0)).map_or_else(|e| e, |bytes| String::from_utf8_lossy(&bytes).into_owned()))
    });
    f.add("title", S, None, |v| text(title(s(v, 0))));
    f.add("trunc", IS, None, |v| {
        let (count, t) = (i(v, 0), s(v, 1));
        let length = t.len() as i64;
        text(match count {
            c if c < 0 && length + c > 0 => slice(t, (length + c) as usize, t.len()),
            c if c >= 0 && length > c => slice(t, 0, c as usize),
            _ => t.to_owned(),
        })
    });
    f.add("substr", &[Int, Int, Str], None, |v| {
        let (from, to, t) = (i(v, 0), i(v, 1), s(v, 2));
        let length = t.len() as i64;
        let bounds = |low: i64, high: i64| match (low, high) {
            (_, high) if high < 0 || high > length => {
                Err(format!("runtime error: slice bounds out of range [:{high}] with length {length}"))
            }
            (low, high) if low > high => Err(format!("runtime error: slice bounds out of range [{low}:{high}]")),
            (low, high) => text(slice(t, low as usize, high as usize)),
        };
        match (from, to) {
            (from, to) if from < 0 => bounds(0, to),
            (from, to) if to < 0 || to > length => bounds(from, length),
            (from, to) => bounds(from, to),
        }
    });
    f.add("contains", SS, None, |v| Ok(Value::Bool(s(v, 1).contains(s(v, 0)))));
    f.add("hasPrefix", SS, None, |v| Ok(Value::Bool(s(v, 1).starts_with(s(v, 0)))));
    f.add("hasSuffix", SS, None, |v| Ok(Value::Bool(s(v, 1).ends_with(s(v, 0)))));
    f.add("indent", IS, None, |v| indent(i(v, 0), s(v, 1)).map(Value::from));
    f.add("nindent", IS, None, |v| Ok(format!("\n{}", indent(i(v, 0), s(v, 1))?).into()));
    f.add("replace", SSS, None, |v| replace(s(v, 2), s(v, 0), s(v, 1), -1));
    f.add("repeat", IS, None, |v| {
        let count = usize::try_from(i(v, 0)).map_err(|_| "strings: negative Repeat count".to_owned())?;
        match count.checked_mul(s(v, 1).len()) {
            Some(length) if length <= MOST => text(s(v, 1).repeat(count)),
            _ => Err("the text grows too long".to_owned()),
        }
    });
    f.add("fromJson", S, None, |v| {
        Ok(serde_json::from_str::<serde_json::Value>(s(v, 0)).map_or(Value::Nil, |json| from_json(&json)))
    });
    f.add("default", &[Any], ANY, |v| Ok(v.get(1).filter(|given| !empty(given)).unwrap_or(&v[0]).clone()));
}

fn numbers(f: &mut Functions) {
    f.add("int", &[Any], None, |v| Ok(Value::Int(to_int(&v[0]))));
    f.add("float64", &[Any], None, |v| Ok(Value::Float(to_float(&v[0]))));
    f.add("add", &[], ANY, |v| Ok(Value::Int64(v.iter().fold(0i64, |sum, x| sum.wrapping_add(to_int(x))))));
    f.add("sub", &[Any, Any], None, |v| Ok(Value::Int64(to_int(&v[0]).wrapping_sub(to_int(&v[1])))));
    f.add("mul", &[Any], ANY, |v| Ok(Value::Int64(v.iter().fold(1i64, |p, x| p.wrapping_mul(to_int(x))))));
    f.add("div", &[Any, Any], None, |v| divide(v, i64::wrapping_div));
    f.add("mod", &[Any, Any], None, |v| divide(v, i64::wrapping_rem));
    f.add("addf", &[], ANY, |v| decimal::fold(v, 0.0, '+').map(Value::Float));
    f.add("subf", &[Any], ANY, |v| decimal::fold(&v[1..], to_float(&v[0]), '-').map(Value::Float));
    f.add("mulf", &[Any], ANY, |v| decimal::fold(&v[1..], to_float(&v[0]), '*').map(Value::Float));
    f.add("divf", &[Any], ANY, |v| decimal::fold(&v[1..], to_float(&v[0]), '/').map(Value::Float));
    f.add("max", &[Any], ANY, |v| Ok(Value::Int64(v.iter().map(to_int).max().unwrap_or(0))));
    f.add("min", &[Any], ANY, |v| Ok(Value::Int64(v.iter().map(to_int).min().unwrap_or(0))));
    f.add("maxf", &[Any], ANY, |v| Ok(Value::Float(v[1..].iter().map(to_float).fold(to_float(&v[0]), go_max))));
    f.add("minf", &[Any], ANY, |v| Ok(Value::Float(v[1..].iter().map(to_float).fold(to_float(&v[0]), go_min))));
    f.add("ceil", &[Any], None, |v| Ok(Value::Float(to_float(&v[0]).ceil())));
    f.add("floor", &[Any], None, |v| Ok(Value::Float(to_float(&v[0]).floor())));
    f.add("round", &[Any, Int], Some(Float), |v| {
        let on = if let Some(Value::Float(on)) = v.get(2) { *on } else { 0.5 };
        let power = 10f64.powf(i(v, 1) as f64);
        let digit = power * to_float(&v[0]);
        let rounded = if digit.fract() >= on { digit.ceil() } else { digit.floor() };
        Ok(Value::Float(rounded / power))
    });
}

fn go_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn go_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

fn divide(v: &[Value], by: fn(i64, i64) -> i64) -> Result1 {
    match to_int(&v[1]) {
        0 => Err("runtime error: integer divide by zero".to_owned()),
        n => Ok(Value::Int64(by(to_int(&v[0]), n))),
    }
}

/// What sprig makes of a value where it wants a whole number: 0 of what is none.
pub(super) fn to_int(v: &Value) -> i64 {
    match v {
        Value::Int(i) | Value::Int64(i) => *i,
        Value::Float(f) => *f as i64,
        Value::Bool(b) => i64::from(*b),
        Value::Str(text) => {
            // `1.00` is taken for 1.
            let text = match text.split_once('.') {
                Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => whole,
                _ => text,
            };
            let Some(text) = without_underscores(text) else { return 0 };
            let (sign, digits) = match text.strip_prefix(['+', '-']) {
                Some(digits) => (&text[..1], digits),
                None => ("", &*text),
            };
            let lower = digits.to_ascii_lowercase();
            let (radix, digits) = match lower.get(..2) {
                Some("0x") => (16, &lower[2..]),
                Some("0o") => (8, &lower[2..]),
                Some("0b") => (2, &lower[2..]),
                _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
                _ => (10, &lower[..]),
            };
            i64::from_str_radix(&format!("{sign}{digits}"), radix).unwrap_or(0)
        }
        _ => 0,
    }
}

/// The same of any number.
pub(super) fn to_float(v: &Value) -> f64 {
    match v {
        Value::Int(i) | Value::Int64(i) => *i as f64,
        Value::Float(f) => *f,
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::Str(text) => crate::units::parse_float(text).unwrap_or(0.0),
        _ => 0.0,
    }
}

fn empty(v: &Value) -> bool {
    matches!(v, Value::Nil) || !v.truth()
}

/// Bytes `from..to` of a text; what is cut in the middle of a character is marked.
fn slice(t: &str, from: usize, to: usize) -> String {
    String::from_utf8_lossy(&t.as_bytes()[from.min(t.len())..to.min(t.len())]).into_owned()
}

fn replace(of: &str, what: &str, by: &str, count: i64) -> Result1 {
    let found = if what.is_empty() { of.chars().count() + 1 } else { of.matches(what).count() };
    let times = usize::try_from(count).map_or(found, |count| count.min(found));
    if of.len().saturating_add(times.saturating_mul(by.len())) > MOST.max(of.len()) {
        return Err("the text grows too long".to_owned());
    }
    text(of.replacen(what, by, times))
}

/// Every match of a pattern by a text, in which `$1` stands for a group where it `expands`.
fn replace_matches(pattern: &str, of: &str, by: &str, expands: bool) -> Result1 {
    let regex = compile(pattern)?;
    let references = if expands { by.matches('$').count() } else { 0 };
    let (mut out, mut last) = (String::new(), 0);
    for found in regex.captures_iter(of) {
        let Some(all) = found.get(0) else { continue };
        out.push_str(&of[last..all.start()]);
        last = all.end();
        // No group is longer than the match.
        let most = by.len().saturating_add(references.saturating_mul(all.len()));
        if out.len().saturating_add(most) > MOST.max(of.len()) {
            return Err("the text grows too long".to_owned());
        }
        if expands {
            found.expand(by, &mut out);
        } else {
            out.push_str(by);
        }
    }
    out.push_str(&of[last..]);
    text(out)
}

fn align(count: i64, of: &str, left: bool) -> Result1 {
    let length = of.chars().count();
    let Ok(count) = usize::try_from(count) else { return text(of) };
    if count > MOST {
        return Err("the text grows too long".to_owned());
    }
    if count >= length {
        let pad = " ".repeat(count - length);
        return text(if left { format!("{of}{pad}") } else { format!("{pad}{of}") });
    }
    let cut: String = if left { of.chars().take(count).collect() } else { of.chars().skip(length - count).collect() };
    text(cut)
}

fn indent(spaces: i64, of: &str) -> Result<String, String> {
    let spaces = usize::try_from(spaces).map_err(|_| "strings: negative Repeat count".to_owned())?;
    let lines = of.matches('\n').count() + 1;
    if spaces.saturating_mul(lines) > MOST {
        return Err("the text grows too long".to_owned());
    }
    let pad = " ".repeat(spaces);
    Ok(format!("{pad}{}", of.replace('\n', &format!("\n{pad}"))))
}

/// The upper case at the start of a word, which some letters have of their own.
fn title_case(c: char) -> char {
    match c {
        '\u{1c4}'..='\u{1c6}' => '\u{1c5}',
        '\u{1c7}'..='\u{1c9}' => '\u{1c8}',
        '\u{1ca}'..='\u{1cc}' => '\u{1cb}',
        '\u{1f1}'..='\u{1f3}' => '\u{1f2}',
        '\u{10d0}'..='\u{10ff}' => c,
        c => go_upper(c),
    }
}

/// The first letter of each word in upper case.
fn title(of: &str) -> String {
    let mut out = String::with_capacity(of.len());
    let mut inside = false;
    for c in of.chars() {
        if inside {
            out.push(c);
        } else {
            out.push(title_case(c));
        }
        // Letters, digits and `_` make words; of what is not ASCII everything that is no space.
        inside = c.is_alphanumeric() || c == '_' || (!c.is_ascii() && !c.is_whitespace());
    }
    out
}

fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => Value::Float(n.as_f64().unwrap_or(0.0)),
        serde_json::Value::String(t) => Value::text(t),
        serde_json::Value::Array(items) => Value::List(items.iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            let entries = map.iter().map(|(k, v)| (Arc::from(k.as_str()), from_json(v))).collect();
            Value::Map(Arc::new(Map { entries, texts: false }))
        }
    }
}

fn urlencode(of: &str) -> String {
    let mut out = String::with_capacity(of.len());
    for b in of.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            b' ' => out.push('+'),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn urldecode(of: &str) -> Result1 {
    let bytes = of.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => {
                let code = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
                match code.and_then(|h| u8::from_str_radix(h, 16).ok()) {
                    Some(b) => out.push(b),
                    None => {
                        let shown = slice(of, at, at + 3);
                        return Err(format!("invalid URL escape {}", quote(&shown)));
                    }
                }
                at += 2;
            }
            b => out.push(b),
        }
        at += 1;
    }
    text(String::from_utf8_lossy(&out))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let sextet = (n >> (18 - 6 * i)) & 63;
            out.push(if i <= chunk.len() { char::from(BASE64[sextet as usize]) } else { '=' });
        }
    }
    out
}

/// Padding may be left out; line breaks are skipped, as Go does.
fn base64_decode(of: &str) -> Result<Vec<u8>, String> {
    let bad = |at: usize| format!("illegal base64 data at input byte {at}");
    let of = of.trim_end_matches('=');
    let mut out = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for (at, b) in of.bytes().enumerate() {
        if matches!(b, b'\n' | b'\r') {
            continue;
        }
        let Some(sextet) = BASE64.iter().position(|x| *x == b) else { return Err(bad(at)) };
        bits = bits << 6 | sextet as u32;
        count += 1;
        if count == 4 {
            out.extend_from_slice(&bits.to_be_bytes()[1..]);
            (bits, count) = (0, 0);
        }
    }
    match count {
        0 => {}
        1 => return Err(bad(of.len() - 1)),
        count => out.extend_from_slice(&(bits << (6 * (4 - count))).to_be_bytes()[1..count as usize]),
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_and_urls_go_both_ways() {
        for plain in ["", "a", "ab", "abc", "hello world"] {
            assert_eq!(base64_decode(&base64_encode(plain.as_bytes())), Ok(plain.as_bytes().to_vec()));
            assert_eq!(urldecode(&urlencode(plain)).map(|v| v.to_string()), Ok(plain.to_owned()));
        }
        assert_eq!(base64_decode("a"), Err("illegal base64 data at input byte 0".to_owned()));
        assert_eq!(base64_decode("bar"), Ok(vec![0x6d, 0xaa]));
        assert_eq!(base64_decode("a b="), Err("illegal base64 data at input byte 1".to_owned()));
        assert_eq!(urldecode("%zz").map(|v| v.to_string()), Err("invalid URL escape \"%zz\"".to_owned()));
    }

    #[test]
    fn what_a_text_may_grow_to_is_bounded_before_it_grows() {
        let (long, longer) = ("a".repeat(1000), "b".repeat(100_000));
        assert_eq!(replace_matches("(a)(b)", "xabab", "$2$1", true).map(|v| v.to_string()), Ok("xbaba".to_owned()));
        assert_eq!(replace_matches("", "ab", "-", true).map(|v| v.to_string()), Ok("-a-b-".to_owned()));
        assert_eq!(replace_matches("a", "xay", "$0", false).map(|v| v.to_string()), Ok("x$0y".to_owned()));
        for (pattern, by) in [("", &longer), ("a", &longer), (".*", &"$0".repeat(10_000))] {
            assert!(replace_matches(pattern, &long, by, true).is_err(), "{pattern}");
        }
        assert!(replace_matches("a", &long, &longer, false).is_err());
    }

    #[test]
    fn numbers_are_read_as_sprig_reads_them() {
        for (t, n) in [
            ("5", 5),
            ("1.00", 1),
            ("1.5", 0),
            ("0x10", 16),
            ("010", 8),
            ("-3", -3),
            ("x", 0),
            ("", 0),
            ("1_000", 1000),
            ("1_", 0),
            ("0x_f", 15),
        ] {
            assert_eq!(to_int(&t.into()), n, "{t}");
        }
        assert_eq!(title("ǆ"), "ǅ");
        assert_eq!(title("hello wORLD_x foo-bar"), "Hello WORLD_x Foo-Bar");
    }
}
