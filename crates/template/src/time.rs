//! Go's `time.Time`: layouts (`2006-01-02T15:04:05Z07:00`) to print and to read.

use std::fmt;
use std::fmt::Write as _;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::Value;

/// A moment, and the zone in which it is shown.
#[derive(Clone, Debug)]
pub struct Time {
    at: Timestamp,
    zone: TimeZone,
}

/// Go's zero time: the start of year 1.
const ZERO_SECONDS: i64 = -62_135_596_800;

impl PartialEq for Time {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Default for Time {
    fn default() -> Self {
        Self { at: Timestamp::from_second(ZERO_SECONDS).unwrap_or(Timestamp::MIN), zone: TimeZone::UTC }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Part {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    SpaceDay,
    ZeroDay,
    SpaceYearDay,
    ZeroYearDay,
    Hour24,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    ZoneName,
    /// `Z07:00` and its like: `Z` for UTC; with colons, with seconds, only hours.
    Zone {
        z: bool,
        colon: bool,
        seconds: bool,
        short: bool,
    },
    /// `.000` or `.999`: digits, and whether trailing zeros are left out; `,` instead of `.`.
    Fraction {
        digits: usize,
        trim: bool,
        comma: bool,
    },
}

const PARTS: [(&str, Part); 35] = [
    ("January", Part::LongMonth),
    ("Jan", Part::Month),
    ("Monday", Part::LongWeekday),
    ("Mon", Part::Weekday),
    ("MST", Part::ZoneName),
    ("01", Part::ZeroMonth),
    ("002", Part::ZeroYearDay),
    ("02", Part::ZeroDay),
    ("03", Part::ZeroHour12),
    ("04", Part::ZeroMinute),
    ("05", Part::ZeroSecond),
    ("06", Part::Year),
    ("15", Part::Hour24),
    ("1", Part::NumMonth),
    ("2006", Part::LongYear),
    ("2", Part::Day),
    ("__2", Part::SpaceYearDay),
    ("_2006", Part::LongYear),
    ("_2", Part::SpaceDay),
    ("3", Part::Hour12),
    ("4", Part::Minute),
    ("5", Part::Second),
    ("PM", Part::UpperPm),
    ("pm", Part::LowerPm),
    ("-07:00:00", Part::Zone { z: false, colon: true, seconds: true, short: false }),
    ("-070000", Part::Zone { z: false, colon: false, seconds: true, short: false }),
    ("-07:00", Part::Zone { z: false, colon: true, seconds: false, short: false }),
    ("-0700", Part::Zone { z: false, colon: false, seconds: false, short: false }),
    ("-07", Part::Zone { z: false, colon: false, seconds: false, short: true }),
    ("Z07:00:00", Part::Zone { z: true, colon: true, seconds: true, short: false }),
    ("Z070000", Part::Zone { z: true, colon: false, seconds: true, short: false }),
    ("Z07:00", Part::Zone { z: true, colon: true, seconds: false, short: false }),
    ("Z0700", Part::Zone { z: true, colon: false, seconds: false, short: false }),
    ("Z07", Part::Zone { z: true, colon: false, seconds: false, short: true }),
    ("", Part::Day),
];

/// A layout cut into literal text and parts. `_2006` is a `_` and a year.
fn cut(layout: &str) -> Vec<(&str, Option<Part>)> {
    let mut out = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < layout.len() {
        let rest = &layout[at..];
        let Some(c) = rest.chars().next() else { break };
        let found = if matches!(c, '.' | ',') {
            fraction(layout, at)
        } else {
            // Go does not take "Jan" in "January" nor the start of a lower-case word for a name.
            PARTS
                .iter()
                .filter(|(text, _)| !text.is_empty() && rest.starts_with(text))
                .max_by_key(|(text, _)| text.len())
                .and_then(|(text, part)| {
                    let lower_follows = rest[text.len()..].starts_with(|c: char| c.is_ascii_lowercase());
                    (!(matches!(part, Part::Month | Part::Weekday) && lower_follows)).then_some((text.len(), *part))
                })
        };
        match found {
            Some((length, part)) => {
                let literal = if rest.starts_with("_2006") { at + 1 } else { at };
                out.push((&layout[start..literal], Some(part)));
                at += length;
                start = at;
            }
            None => at += c.len_utf8(),
        }
    }
    out.push((&layout[start..], None));
    out
}

/// `.000` and `.999`, where no digit follows; or either behind seconds.
fn fraction(layout: &str, at: usize) -> Option<(usize, Part)> {
    let rest = &layout.as_bytes()[at + 1..];
    let digit = *rest.first().filter(|d| matches!(d, b'0' | b'9'))?;
    let digits = rest.iter().take_while(|d| **d == digit).count();
    if rest.get(digits).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    Some((digits + 1, Part::Fraction { digits: digits.min(9), trim: digit == b'9', comma: layout.as_bytes()[at] == b',' }))
}

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Time {
    /// The moment `ns` nanoseconds after the Unix epoch, in UTC.
    #[must_use]
    pub fn from_nanos(ns: i64) -> Self {
        Self { at: Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::UNIX_EPOCH), zone: TimeZone::UTC }
    }

    /// The same of seconds and nanoseconds; clamped to the years that exist.
    #[must_use]
    pub fn from_seconds(seconds: i64, ns: i32) -> Self {
        let edge = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Self { at: Timestamp::new(seconds, ns).unwrap_or(edge), zone: TimeZone::UTC }
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.at.as_nanosecond().div_euclid(1_000_000_000) as i64
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn millis(&self) -> i64 {
        self.at.as_nanosecond().div_euclid(1_000_000) as i64
    }

    /// Nanoseconds since the Unix epoch; wraps as Go's do.
    #[must_use]
    pub fn nanos(&self) -> i64 {
        self.at.as_nanosecond() as i64
    }

    /// The same moment shown in another zone; `None` where that is not known.
    #[must_use]
    pub fn in_zone(&self, zone: &str) -> Option<Self> {
        Some(Self { at: self.at, zone: named(zone)? })
    }

    /// As `Time.Format` prints it.
    #[must_use]
    pub fn format(&self, layout: &str) -> String {
        let info = self.zone.to_offset_info(self.at);
        let offset = info.offset().seconds();
        let t = info.offset().to_datetime(self.at);
        let hour12 = if t.hour() % 12 == 0 { 12 } else { t.hour() % 12 };
        let mut out = String::new();
        for (literal, part) in cut(layout) {
            out.push_str(literal);
            let Some(part) = part else { continue };
            let month = MONTHS[(t.month() - 1) as usize];
            let day = DAYS[t.weekday().to_sunday_zero_offset() as usize];
            let written = match part {
                Part::LongMonth => write!(out, "{month}"),
                Part::Month => write!(out, "{}", &month[..3]),
                Part::NumMonth => write!(out, "{}", t.month()),
                Part::ZeroMonth => write!(out, "{:02}", t.month()),
                Part::LongWeekday => write!(out, "{day}"),
                Part::Weekday => write!(out, "{}", &day[..3]),
                Part::Day => write!(out, "{}", t.day()),
                Part::SpaceDay => write!(out, "{:2}", t.day()),
                Part::ZeroDay => write!(out, "{:02}", t.day()),
                Part::SpaceYearDay => write!(out, "{:3}", t.day_of_year()),
                Part::ZeroYearDay => write!(out, "{:03}", t.day_of_year()),
                Part::Hour24 => write!(out, "{:02}", t.hour()),
                Part::Hour12 => write!(out, "{hour12}"),
                Part::ZeroHour12 => write!(out, "{hour12:02}"),
                Part::Minute => write!(out, "{}", t.minute()),
                Part::ZeroMinute => write!(out, "{:02}", t.minute()),
                Part::Second => write!(out, "{}", t.second()),
                Part::ZeroSecond => write!(out, "{:02}", t.second()),
                Part::LongYear => write!(out, "{:04}", t.year()),
                Part::Year => write!(out, "{:02}", t.year().rem_euclid(100)),
                Part::UpperPm => write!(out, "{}", if t.hour() >= 12 { "PM" } else { "AM" }),
                Part::LowerPm => write!(out, "{}", if t.hour() >= 12 { "pm" } else { "am" }),
                Part::ZoneName => write!(out, "{}", info.abbreviation()),
                Part::Zone { z: true, .. } if offset == 0 => write!(out, "Z"),
                Part::Zone { colon, seconds, short, .. } => {
                    let (sign, of) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs());
                    let colon = if colon { ":" } else { "" };
                    let _ = write!(out, "{sign}{:02}", of / 3600);
                    if !short {
                        let _ = write!(out, "{colon}{:02}", of / 60 % 60);
                    }
                    if seconds { write!(out, "{colon}{:02}", of % 60) } else { Ok(()) }
                }
                Part::Fraction { digits, trim, comma } => {
                    let all = format!("{:09}", t.subsec_nanosecond());
                    let mut shown = &all[..digits];
                    if trim {
                        shown = shown.trim_end_matches('0');
                    }
                    let mark = if comma { ',' } else { '.' };
                    if shown.is_empty() { Ok(()) } else { write!(out, "{mark}{shown}") }
                }
            };
            // Writing to a text cannot fail.
            let _ = written;
        }
        out
    }

    /// What `time.ParseInLocation` reads; `None` where `text` does not fit `layout`.
    #[must_use]
    pub fn parse(layout: &str, text: &str, zone: &str) -> Option<Self> {
        let location = named(zone).unwrap_or(TimeZone::UTC);
        let mut rest = text;
        let (mut year, mut month, mut day, mut yday) = (0i16, 1i8, 1i8, None);
        let (mut hour, mut minute, mut second, mut ns) = (0i8, 0i8, 0i8, 0i32);
        let (mut pm, mut offset) = (None, None);
        let parts = cut(layout);
        for (i, (literal, part)) in parts.iter().enumerate() {
            rest = skip(rest, literal)?;
            let Some(part) = part else { break };
            match part {
                Part::LongYear => year = take(&mut rest, 4, 4)? as i16,
                Part::Year => {
                    let y = take(&mut rest, 2, 2)? as i16;
                    year = if y >= 69 { y + 1900 } else { y + 2000 };
                }
                Part::LongMonth | Part::Month => {
                    let length = if *part == Part::Month { 3 } else { 9 };
                    let at = MONTHS.iter().position(|m| {
                        let name = &m[..length.min(m.len())];
                        rest.get(..name.len()).is_some_and(|r| r.eq_ignore_ascii_case(name))
                    })?;
                    month = at as i8 + 1;
                    rest = &rest[length.min(MONTHS[at].len())..];
                }
                Part::LongWeekday | Part::Weekday => {
                    let length = if *part == Part::Weekday { 3 } else { 9 };
                    let name = DAYS
                        .iter()
                        .map(|d| &d[..length.min(d.len())])
                        .find(|d| rest.get(..d.len()).is_some_and(|r| r.eq_ignore_ascii_case(d)))?;
                    rest = &rest[name.len()..];
                }
                Part::NumMonth => month = take(&mut rest, 1, 2)? as i8,
                Part::ZeroMonth => month = take(&mut rest, 2, 2)? as i8,
                Part::Day => day = take(&mut rest, 1, 2)? as i8,
                Part::SpaceDay => {
                    rest = rest.strip_prefix(' ').unwrap_or(rest);
                    day = take(&mut rest, 1, 2)? as i8;
                }
                Part::ZeroDay => day = take(&mut rest, 2, 2)? as i8,
                Part::SpaceYearDay | Part::ZeroYearDay => {
                    rest = rest.trim_start_matches(' ');
                    yday = Some(take(&mut rest, 1, 3)? as i16);
                }
                Part::Hour24 => hour = take(&mut rest, 2, 2)? as i8,
                Part::Hour12 => hour = take(&mut rest, 1, 2)? as i8,
                Part::ZeroHour12 => hour = take(&mut rest, 2, 2)? as i8,
                Part::Minute => minute = take(&mut rest, 1, 2)? as i8,
                Part::ZeroMinute => minute = take(&mut rest, 2, 2)? as i8,
                Part::Second | Part::ZeroSecond => {
                    second = take(&mut rest, if *part == Part::Second { 1 } else { 2 }, 2)? as i8;
                    // A fraction is read behind seconds even where the layout has none.
                    let next_fraction =
                        matches!(parts.get(i + 1), Some((literal, Some(Part::Fraction { .. }))) if literal.is_empty());
                    let next = rest.as_bytes();
                    if !next_fraction && matches!(next.first(), Some(b'.' | b',')) && next.get(1).is_some_and(u8::is_ascii_digit)
                    {
                        ns = subsecond(&mut rest, None)?;
                    }
                }
                Part::UpperPm | Part::LowerPm => {
                    let half = rest.get(..2)?;
                    pm = Some(match half {
                        "PM" | "pm" => true,
                        "AM" | "am" => false,
                        _ => return None,
                    });
                    rest = &rest[2..];
                }
                Part::Zone { z: true, .. } if rest.starts_with('Z') => {
                    offset = Some(0);
                    rest = &rest[1..];
                }
                Part::Zone { colon, seconds, short, .. } => offset = Some(read_offset(&mut rest, *colon, *seconds, *short)?),
                Part::ZoneName => {
                    let length = rest.bytes().take_while(u8::is_ascii_uppercase).count();
                    if !(3..=5).contains(&length) {
                        return None;
                    }
                    if &rest[..length] == "UTC" {
                        offset = Some(0);
                    }
                    rest = &rest[length..];
                }
                Part::Fraction { digits, trim, .. } => {
                    if !rest.starts_with(['.', ',']) {
                        if *trim {
                            continue;
                        }
                        return None;
                    }
                    ns = subsecond(&mut rest, (!trim).then_some(*digits))?;
                }
            }
        }
        if !rest.is_empty() {
            return None;
        }
        match pm {
            Some(true) if hour < 12 => hour += 12,
            Some(false) if hour == 12 => hour = 0,
            _ => {}
        }
        let mut at = DateTime::new(year, month, day, hour, minute, second, ns).ok()?;
        if let Some(yday) = yday {
            let first = DateTime::new(year, 1, 1, hour, minute, second, ns).ok()?;
            at = first.checked_add(SignedDuration::from_hours(i64::from(yday - 1) * 24)).ok()?;
        }
        match offset {
            Some(seconds) => {
                let offset = jiff::tz::Offset::from_seconds(seconds).ok()?;
                let zone = if seconds == 0 { TimeZone::UTC } else { TimeZone::fixed(offset) };
                Some(Self { at: offset.to_timestamp(at).ok()?, zone })
            }
            None => Some(Self { at: location.to_timestamp(at).ok()?, zone: location }),
        }
    }

    pub(crate) fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        let layout = || arguments.first().and_then(Value::as_str).ok_or_else(|| "expected string".to_owned());
        Some(Ok(match name {
            "Format" => return Some(layout().map(|l| self.format(l).into())),
            "Unix" => Value::Int64(self.seconds()),
            "UnixMilli" => Value::Int64(self.at.as_millisecond()),
            "UnixMicro" => Value::Int64(self.at.as_microsecond()),
            "UnixNano" => Value::Int64(self.nanos()),
            "UTC" => Value::Time(Self { at: self.at, zone: TimeZone::UTC }),
            "String" => self.to_string().into(),
            "IsZero" => Value::Bool(*self == Self::default()),
            "Year" => Value::Int(i64::from(self.civil().year())),
            "Day" => Value::Int(i64::from(self.civil().day())),
            "Hour" => Value::Int(i64::from(self.civil().hour())),
            "Minute" => Value::Int(i64::from(self.civil().minute())),
            "Second" => Value::Int(i64::from(self.civil().second())),
            "Nanosecond" => Value::Int(i64::from(self.civil().subsec_nanosecond())),
            "YearDay" => Value::Int(i64::from(self.civil().day_of_year())),
            "Month" => MONTHS[(self.civil().month() - 1) as usize].into(),
            "Weekday" => DAYS[self.civil().weekday().to_sunday_zero_offset() as usize].into(),
            _ => return None,
        }))
    }

    fn civil(&self) -> DateTime {
        self.zone.to_datetime(self.at)
    }
}

/// As `Time.String` prints it.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

fn named(zone: &str) -> Option<TimeZone> {
    match zone {
        "" | "UTC" | "Local" => Some(TimeZone::UTC),
        name => TimeZone::get(name).ok(),
    }
}

/// What follows `literal`; white space in it stands for any white space.
fn skip<'t>(text: &'t str, literal: &str) -> Option<&'t str> {
    let (mut text, mut literal) = (text, literal);
    while let Some(c) = literal.chars().next() {
        if c == ' ' {
            if !text.is_empty() && !text.starts_with(' ') {
                return None;
            }
            literal = literal.trim_start_matches(' ');
            text = text.trim_start_matches(' ');
            continue;
        }
        text = text.strip_prefix(c)?;
        literal = &literal[c.len_utf8()..];
    }
    Some(text)
}

/// A number of `least` to `most` digits.
fn take(rest: &mut &str, least: usize, most: usize) -> Option<u32> {
    let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if digits < least {
        return None;
    }
    let number = rest[..digits].parse().ok()?;
    *rest = &rest[digits..];
    Some(number)
}

/// The mark and the digits of a fraction, as nanoseconds.
fn subsecond(rest: &mut &str, digits: Option<usize>) -> Option<i32> {
    let text = &rest[1..];
    let found = text.bytes().take_while(u8::is_ascii_digit).count();
    let count = digits.unwrap_or(found);
    if found < count {
        return None;
    }
    let mut ns = 0i32;
    for i in 0..9 {
        let digit = if i < count { text.as_bytes()[i] - b'0' } else { 0 };
        ns = ns * 10 + i32::from(digit);
    }
    *rest = &text[count..];
    Some(ns)
}

fn read_offset(rest: &mut &str, colon: bool, seconds: bool, short: bool) -> Option<i32> {
    let sign = match rest.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    *rest = &rest[1..];
    let mut total = take(rest, 2, 2)? as i32 * 3600;
    let mut next = |scale: i32| -> Option<()> {
        if colon {
            *rest = rest.strip_prefix(':')?;
        }
        total += take(rest, 2, 2)? as i32 * scale;
        Some(())
    };
    if !short {
        next(60)?;
    }
    if seconds {
        next(1)?;
    }
    Some(sign * total)
}
