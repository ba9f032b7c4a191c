//! Go's `fmt`: `%v`, `%d`, `%q` and their like.

use std::fmt::Write as _;

use crate::Value;

/// Widest field and longest precision that a format may ask for (Go's own limit is a million).
const MAX_WIDTH: usize = 10_000;

/// A number as `strconv.FormatFloat` prints it with the verbs `e E f F g G` (`v` is `g`). No precision: as many digits as it
/// takes to read the same number again. `g` writes an exponent from a million on (1e+06) and below 0.0001.
#[must_use]
pub fn format_float(x: f64, verb: char, precision: Option<usize>) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match verb {
        'f' | 'F' => match precision {
            Some(p) => format!("{x:.p$}"),
            None => format!("{x}"),
        },
        'e' | 'E' => exponent(x, precision, verb),
        _ => {
            // %e is used where the exponent is below -4 or not below the precision.
            let (digits, exp) = scientific(x, precision.map(|p| p.max(1) - 1));
            let most = precision.map_or(6, |p| p.max(1) as i32);
            let digits = match precision {
                // `%g` leaves trailing zeros out.
                Some(_) => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
                None => digits,
            };
            if exp < -4 || exp >= most {
                let letter = if verb == 'G' { 'E' } else { 'e' };
                let sign = if exp < 0 { '-' } else { '+' };
                return format!("{digits}{letter}{sign}{:02}", exp.unsigned_abs());
            }
            match precision {
                None => format!("{x}"),
                Some(p) => {
                    let decimals = (p.max(1) as i32 - 1 - exp).max(0) as usize;
                    let text = format!("{x:.decimals$}");
                    match text.contains('.') {
                        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                        false => text,
                    }
                }
            }
        }
    }
}

/// Mantissa and exponent of ten.
fn scientific(x: f64, precision: Option<usize>) -> (String, i32) {
    let text = match precision {
        Some(p) => format!("{x:.p$e}"),
        None => format!("{x:e}"),
    };
    match text.split_once('e') {
        Some((digits, exp)) => (digits.to_owned(), exp.parse().unwrap_or(0)),
        None => (text, 0),
    }
}

fn exponent(x: f64, precision: Option<usize>, letter: char) -> String {
    let (digits, exp) = scientific(x, precision);
    format!("{digits}{letter}{}{:02}", if exp < 0 { '-' } else { '+' }, exp.unsigned_abs())
}

/// A text as `strconv.Quote` writes it.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if prints(c) => out.push(c),
            c if (c as u32) < 0x1_0000 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
        }
    }
    out.push('"');
    out
}

/// Whether a character prints (`strconv.IsPrint`), as far as controls, separators and what is no character go.
fn prints(c: char) -> bool {
    let code = c as u32;
    !(c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(code, 0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xe000..=0xf8ff | 0xfeff | 0xfff0..=0xfffb)
        || (code & 0xfffe) == 0xfffe
        || code >= 0xe_0000)
}

#[derive(Default, Clone)]
struct Flags {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The arguments of a format, and which is next.
struct Arguments<'a> {
    all: &'a [Value],
    next: usize,
    /// Some were asked for by number.
    reordered: bool,
    /// The verb at hand asks for one that can be.
    good: bool,
}

impl Arguments<'_> {
    /// `[n]`, if it stands here: the n-th is next. Whether it was one.
    fn index(&mut self, rest: &mut &str) -> bool {
        let Some(inside) = rest.strip_prefix('[') else { return false };
        self.reordered = true;
        let Some((number, after)) = inside.split_once(']').filter(|_| rest.len() >= 3) else {
            (self.good, *rest) = (false, inside);
            return false;
        };
        *rest = after;
        let sound = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        match number.parse::<usize>().ok().filter(|n| sound && (1..=self.all.len()).contains(n)) {
            Some(n) => self.next = n - 1,
            None => self.good = false,
        }
        sound
    }

    /// `*`: a width or a precision; `None` where the next argument is no small number.
    fn number(&mut self) -> Option<i64> {
        let value = self.all.get(self.next).and_then(Value::as_int);
        self.next += 1;
        value.filter(|n| n.unsigned_abs() <= MAX_WIDTH as u64)
    }
}

/// Digits at the start.
fn digits(rest: &mut &str) -> Option<i64> {
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(length);
    *rest = after;
    (length > 0).then(|| number.parse().unwrap_or(i64::MAX).min(MAX_WIDTH as i64))
}

/// `fmt.Sprintf`.
#[must_use]
pub fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut given = Arguments { all: arguments, next: 0, reordered: false, good: true };
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        given.good = true;
        let mut flags = Flags::default();
        let length = rest.bytes().take_while(|b| b"-+ 0#".contains(b)).count();
        for b in rest[..length].bytes() {
            match b {
                b'-' => flags.minus = true,
                b'+' => flags.plus = true,
                b' ' => flags.space = true,
                b'0' => flags.zero = true,
                _ => flags.sharp = true,
            }
        }
        rest = &rest[length..];
        let mut indexed = given.index(&mut rest);
        let width = match rest.strip_prefix('*') {
            Some(after) => {
                (rest, indexed) = (after, false);
                let width = given.number();
                if width.is_none() {
                    out.push_str("%!(BADWIDTH)");
                }
                width
            }
            None => {
                let width = digits(&mut rest);
                given.good &= !(indexed && width.is_some());
                width
            }
        };
        flags.minus |= width.is_some_and(|width| width < 0);
        flags.width = width.map(|width| width.unsigned_abs() as usize);
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            given.good &= !indexed;
            indexed = given.index(&mut rest);
            let precision = match rest.strip_prefix('*') {
                Some(after) => {
                    (rest, indexed) = (after, false);
                    let precision = given.number().filter(|n| *n >= 0);
                    if precision.is_none() {
                        out.push_str("%!(BADPREC)");
                    }
                    precision
                }
                None => Some(digits(&mut rest).unwrap_or(0)),
            };
            flags.precision = precision.and_then(|n| usize::try_from(n).ok());
        }
        if !indexed {
            given.index(&mut rest);
        }
        let Some(verb) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[verb.len_utf8()..];
        let _ = match arguments.get(given.next) {
            _ if verb == '%' => write!(out, "%"),
            _ if !given.good => write!(out, "%!{verb}(BADINDEX)"),
            None => write!(out, "%!{verb}(MISSING)"),
            Some(value) => {
                given.next += 1;
                one(&mut out, &flags, verb, value);
                Ok(())
            }
        };
    }
    out.push_str(rest);
    if given.next < arguments.len() && !given.reordered {
        let extra: Vec<String> = arguments[given.next..]
            .iter()
            .map(|v| match v {
                Value::Nil => "<nil>".to_owned(),
                v => format!("{}={v}", v.type_name()),
            })
            .collect();
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

fn one(out: &mut String, flags: &Flags, verb: char, value: &Value) {
    match (verb, value) {
        ('T', value) => pad(out, flags, &if matches!(value, Value::Nil) { "<nil>".to_owned() } else { value.type_name() }),
        ('v', Value::Nil) => pad(out, flags, "<nil>"),
        (_, Value::Nil) => {
            let _ = write!(out, "%!{verb}(<nil>)");
        }
        ('v', Value::Int(i) | Value::Int64(i)) => pad_number(out, flags, &signed(flags, &i.to_string())),
        ('v', Value::Float(x)) => float(out, flags, 'g', *x, flags.precision),
        ('v', Value::Str(s)) if flags.sharp => pad(out, flags, &quote(s)),
        ('v' | 's', Value::Str(s)) => pad(out, flags, cut(s, flags.precision)),
        ('v', value) => pad(out, flags, &value.to_string()),
        ('t', Value::Bool(b)) => pad(out, flags, if *b { "true" } else { "false" }),
        ('q', Value::Str(s)) => pad(out, flags, &quoted(cut(s, flags.precision), flags)),
        ('q', Value::Int(i) | Value::Int64(i)) => {
            let c = u32::try_from(*i).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            let text = quoted(&c.to_string(), &Flags { sharp: false, ..flags.clone() });
            let inner = text[1..text.len() - 1].replace("\\\"", "\"").replace('\'', "\\'");
            pad(out, flags, &format!("'{inner}'"));
        }
        ('x' | 'X', Value::Str(s)) => {
            let bytes = s.as_bytes();
            let bytes = &bytes[..flags.precision.map_or(bytes.len(), |p| p.min(bytes.len()))];
            let mut hex = String::new();
            for (i, b) in bytes.iter().enumerate() {
                if i > 0 && flags.space {
                    hex.push(' ');
                }
                if flags.sharp && (i == 0 || flags.space) {
                    hex.push_str("0x");
                }
                let _ = write!(hex, "{b:02x}");
            }
            pad(out, flags, &if verb == 'X' { hex.to_uppercase() } else { hex });
        }
        ('d' | 'b' | 'o' | 'O' | 'x' | 'X' | 'c' | 'U', Value::Int(i) | Value::Int64(i)) => integer(out, flags, verb, *i),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(x)) => {
            let precision = if matches!(verb, 'g' | 'G') { flags.precision } else { flags.precision.or(Some(6)) };
            float(out, flags, verb, *x, precision);
        }
        ('s' | 'd' | 'q' | 'x' | 't' | 'f', Value::List(items)) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                one(out, flags, verb, item);
            }
            out.push(']');
        }
        ('q', Value::Map(m)) if m.texts => pad(out, flags, &value.quoted()),
        ('s', Value::Map(m)) if m.texts => pad(out, flags, &value.to_string()),
        ('s', Value::Time(_) | Value::Object(_)) => pad(out, flags, &value.to_string()),
        (verb, value) => {
            let _ = write!(out, "%!{verb}({}={value})", value.type_name());
        }
    }
}

/// A text in quotes: with `#` in back quotes where it may stand so, with `+` in ASCII.
fn quoted(text: &str, flags: &Flags) -> String {
    if flags.sharp && !text.chars().any(|c| c == '`' || c == '\u{7f}' || c == '\u{feff}' || (c < ' ' && c != '\t')) {
        return format!("`{text}`");
    }
    let text = quote(text);
    if !flags.plus || text.is_ascii() {
        return text;
    }
    text.chars().fold(String::new(), |mut out, c| {
        let _ = match c as u32 {
            code @ ..0x80 => write!(out, "{}", char::from(code as u8)),
            code @ ..0x1_0000 => write!(out, "\\u{code:04x}"),
            code => write!(out, "\\U{code:08x}"),
        };
        out
    })
}

fn cut(text: &str, precision: Option<usize>) -> &str {
    let end = precision.and_then(|p| text.char_indices().nth(p)).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

fn signed(flags: &Flags, digits: &str) -> String {
    match (digits.starts_with('-'), flags.plus, flags.space) {
        (false, true, _) => format!("+{digits}"),
        (false, false, true) => format!(" {digits}"),
        _ => digits.to_owned(),
    }
}

fn integer(out: &mut String, flags: &Flags, verb: char, i: i64) {
    let magnitude = i.unsigned_abs();
    let mut digits = match verb {
        'b' => format!("{magnitude:b}"),
        'o' | 'O' => format!("{magnitude:o}"),
        'x' => format!("{magnitude:x}"),
        'X' => format!("{magnitude:X}"),
        'c' => {
            let c = u32::try_from(i).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            return pad(out, flags, &c.to_string());
        }
        'U' => {
            let shown = u32::try_from(i).ok().and_then(char::from_u32).filter(|c| flags.sharp && prints(*c));
            let shown = shown.map_or_else(String::new, |c| format!(" '{c}'"));
            return pad(out, flags, &format!("U+{magnitude:04X}{shown}"));
        }
        _ => magnitude.to_string(),
    };
    if let Some(p) = flags.precision {
        digits = format!("{digits:0>p$}");
    }
    let prefix = match verb {
        'b' if flags.sharp => "0b",
        'o' if flags.sharp => "0",
        'O' => "0o",
        'x' if flags.sharp => "0x",
        'X' if flags.sharp => "0X",
        _ => "",
    };
    let text = format!("{}{prefix}{digits}", if i < 0 { "-" } else { "" });
    pad_number(out, &Flags { zero: flags.zero && flags.precision.is_none(), ..flags.clone() }, &signed(flags, &text));
}

fn float(out: &mut String, flags: &Flags, verb: char, x: f64, precision: Option<usize>) {
    let text = signed(flags, &format_float(x, verb, precision));
    let text = if x.is_infinite() && !flags.plus { text.trim_start_matches('+').to_owned() } else { text };
    let text = if x == f64::INFINITY { format!("+{}", text.trim_start_matches('+')) } else { text };
    if x.is_finite() { pad_number(out, flags, &text) } else { pad(out, &Flags { zero: false, ..flags.clone() }, &text) }
}

/// Zeros go between sign and digits.
fn pad_number(out: &mut String, flags: &Flags, text: &str) {
    let width = flags.width.unwrap_or(0);
    if flags.zero && !flags.minus && text.chars().count() < width {
        let (sign, digits) = match text.strip_prefix(['+', '-', ' ']) {
            Some(digits) => (&text[..1], digits),
            None => ("", text),
        };
        let zeros = width - text.chars().count();
        out.push_str(sign);
        out.push_str(&"0".repeat(zeros));
        out.push_str(digits);
        return;
    }
    pad(out, flags, text);
}

fn pad(out: &mut String, flags: &Flags, text: &str) {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    let filler = if flags.zero && !flags.minus { "0" } else { " " };
    if flags.minus {
        out.push_str(text);
        out.push_str(&" ".repeat(missing));
    } else {
        out.push_str(&filler.repeat(missing));
        out.push_str(text);
    }
}
