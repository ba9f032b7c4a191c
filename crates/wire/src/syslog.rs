//! Syslog: RFC 5424, RFC 3164 (and what devices make of it), and bare lines as they stand in files, such as those of
//! `blueplanet.log`. Nothing is refused: what cannot be read as a header belongs to the text.

/// What a message says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// Facility, 0 to 23, where the message has a priority.
    pub facility: Option<u8>,
    /// Severity, 0 (emergency) to 7 (debug), where the message has a priority.
    pub severity: Option<u8>,
    /// Nanoseconds since the Unix epoch, where it names a time.
    pub time: Option<i64>,
    /// The host; empty where it names none.
    pub host: &'a str,
    /// The application (RFC 3164: the tag); empty where it names none.
    pub app: &'a str,
    /// The process id; empty where it names none.
    pub process: &'a str,
    /// The message id of RFC 5424; empty where it names none.
    pub id: &'a str,
    /// Structured data of RFC 5424: `element.parameter` and its value, at most [`MAX_PARAMETERS`].
    pub data: Vec<(String, String)>,
    /// The text.
    pub text: &'a str,
}

/// Parameters of structured data that are kept of a message.
pub const MAX_PARAMETERS: usize = 64;
/// Bytes that a name in a header may have; a longer word is text.
const MAX_NAME: usize = 255;

/// Names of the facilities, by their number.
pub const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit",
    "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// Names of the severities, by their number.
pub const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// OpenTelemetry's severity number of a syslog severity (its data model, appendix B).
#[must_use]
pub fn severity_number(severity: u8) -> i32 {
    [24, 22, 21, 17, 13, 10, 9, 5].get(usize::from(severity)).copied().unwrap_or(0)
}

/// How times without a year or a zone are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// When the message came, nanoseconds since the Unix epoch: a year is chosen so that the time lies nearest.
    pub now: i64,
    /// Seconds east of UTC of times that name no zone.
    pub offset: i32,
}

/// Reads a message; trailing line ends and NULs do not count.
#[must_use]
pub fn parse(line: &str, clock: Clock) -> Message<'_> {
    let line = line.trim_end_matches(['\n', '\r', '\0']);
    let (priority, rest) = priority(line);
    let mut message =
        Message { facility: priority.map(|p| p / 8), severity: priority.map(|p| p % 8), text: rest, ..Message::default() };
    if priority.is_some()
        && let Some(rest) = rest.strip_prefix("1 ")
        && rfc5424(rest, clock, &mut message).is_some()
    {
        return message;
    }
    rfc3164(rest, clock, &mut message);
    message
}

/// `<34>`: 0 to 191.
fn priority(line: &str) -> (Option<u8>, &str) {
    let read = || {
        let (digits, rest) = line.strip_prefix('<')?.split_once('>')?;
        let sound = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let number = digits.parse::<u8>().ok().filter(|n| sound && *n <= 191)?;
        Some((number, rest))
    };
    read().map_or((None, line), |(number, rest)| (Some(number), rest))
}

fn word(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// What `-` stands for.
fn nil(word: &str) -> &str {
    if word == "-" { "" } else { word }
}

fn rfc5424<'a>(text: &'a str, clock: Clock, message: &mut Message<'a>) -> Option<()> {
    let (time, text) = word(text);
    let (host, text) = word(text);
    let (app, text) = word(text);
    let (process, text) = word(text);
    let (id, text) = word(text);
    let time = if time == "-" { None } else { Some(timestamp(time, clock)?) };
    let (data, text) = if let Some(rest) = text.strip_prefix('-') { (Vec::new(), rest) } else { structured(text)? };
    let text = text.strip_prefix(' ').unwrap_or(text);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    (message.time, message.host, message.app, message.process) = (time, nil(host), nil(app), nil(process));
    (message.id, message.data, message.text) = (nil(id), data, text);
    Some(())
}

/// `[id name="value" …][…]`, and what follows.
fn structured(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut data = Vec::new();
    if !text.starts_with('[') {
        return None;
    }
    while let Some(rest) = text.strip_prefix('[') {
        let end = rest.find([' ', ']'])?;
        let (element, mut rest) = rest.split_at(end);
        loop {
            rest = rest.trim_start_matches(' ');
            if let Some(after) = rest.strip_prefix(']') {
                text = after;
                break;
            }
            let (name, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut chars = after.char_indices();
            let close = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next()?.1 {
                        c @ ('"' | '\\' | ']') => value.push(c),
                        c => value.extend(['\\', c]),
                    },
                    (_, c) => value.push(c),
                }
            };
            if data.len() < MAX_PARAMETERS {
                data.push((format!("{element}.{name}"), value));
            }
            rest = &after[close + 1..];
        }
    }
    Some((data, text))
}

fn rfc3164<'a>(text: &'a str, clock: Clock, message: &mut Message<'a>) {
    let begin = text.trim_start_matches([' ', '*']);
    let Some((time, rest)) = leading_time(begin, clock) else {
        // Without a time only a tag can be told from the text, or a host before a tag with its process id.
        if let Some((host, after)) = begin.split_once(' ')
            && host.len() <= MAX_NAME
            && !host.contains([':', '['])
            && after.split_once(": ").is_some_and(|(head, _)| head.ends_with(']') && !head.contains(' '))
        {
            message.host = host;
            tag(after, message);
        } else {
            tag(begin, message);
        }
        return;
    };
    message.time = Some(time);
    let rest = rest.trim_start_matches([' ', ':']);
    let (host, after) = word(rest);
    // A word that ends in a colon, or that has a process id, is the tag already: the host was left out.
    let is_host =
        !host.is_empty() && host.len() <= MAX_NAME && !host.ends_with([':', ']', ',']) && !host.contains(['[', '=', '"', '{']);
    if is_host && !after.is_empty() {
        message.host = host;
        tag(after.trim_start(), message);
    } else {
        tag(rest, message);
    }
}

/// `app[123]: text`, `app: text`; else all of it is text.
fn tag<'a>(text: &'a str, message: &mut Message<'a>) {
    message.text = text;
    let Some(colon) = text.find(':').filter(|c| *c <= MAX_NAME) else { return };
    let (head, rest) = (&text[..colon], &text[colon + 1..]);
    let (app, process) = match head.split_once('[') {
        Some((app, process)) => match process.strip_suffix(']') {
            Some(process) => (app, process),
            None => return,
        },
        None => (head, ""),
    };
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"_-./@()".contains(&b);
    // `10:20:30` and `key: value` in running text are no tags: a tag is one word, followed by a blank or the end.
    if app.is_empty()
        || !app.bytes().all(sound)
        || app.bytes().all(|b| b.is_ascii_digit())
        || !(rest.is_empty() || rest.starts_with(' '))
    {
        return;
    }
    (message.app, message.process, message.text) = (app, process, rest.strip_prefix(' ').unwrap_or(rest));
}

/// A time at the beginning: `Oct 11 22:14:15[.123]`, with a year before or after the day of time, or RFC 3339 with `T` or a blank.
fn leading_time(text: &str, clock: Clock) -> Option<(i64, &str)> {
    if text.as_bytes().first()?.is_ascii_digit() {
        let (first, rest) = word(text);
        if let Some(time) = timestamp(first, clock) {
            return Some((time, rest));
        }
        let (second, _) = word(rest);
        let both = text.get(..first.len() + 1 + second.len())?;
        return Some((timestamp(both, clock)?, &text[both.len()..]));
    }
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let name = text.get(..3)?.to_ascii_lowercase();
    let month = MONTHS.iter().position(|m| *m == name)? as i64 + 1;
    let rest = text[3..].strip_prefix(' ')?.trim_start();
    let (day, rest) = word(rest);
    let day: i64 = day.parse().ok().filter(|d| (1..=31).contains(d))?;
    let (mut clock_word, mut rest) = word(rest.trim_start());
    let mut year: Option<i64> = None;
    if clock_word.len() == 4
        && let Ok(y) = clock_word.parse::<i64>()
    {
        year = Some(y);
        (clock_word, rest) = word(rest);
    }
    let seconds = time_of_day(clock_word.trim_end_matches([':', ',']))?;
    let at = |year: i64| -> Option<i64> {
        let days = days_from_civil(year, month, day)?;
        days.checked_mul(86_400_000_000_000)?.checked_add(seconds)?.checked_sub(i64::from(clock.offset) * 1_000_000_000)
    };
    let this_year = 1970 + clock.now.div_euclid(31_556_952_000_000_000);
    let time = match year {
        Some(year) => at(year)?,
        None => (this_year - 1..=this_year + 1).filter_map(at).min_by_key(|t| t.abs_diff(clock.now))?,
    };
    Some((time, rest))
}

/// `hh:mm:ss[.fraction]` in nanoseconds.
fn time_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (whole, fraction) = seconds.split_once(['.', ',']).unwrap_or((seconds, ""));
    let number = |t: &str, most: i64| {
        let sound = (1..=2).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
        t.parse::<i64>().ok().filter(|n| sound && *n <= most)
    };
    let nanos = if fraction.is_empty() {
        0
    } else if fraction.len() <= 9 && fraction.bytes().all(|b| b.is_ascii_digit()) {
        fraction.parse::<i64>().ok()? * 10i64.pow(9 - fraction.len() as u32)
    } else {
        return None;
    };
    Some((number(hours, 23)? * 3600 + number(minutes, 59)? * 60 + number(whole, 60)?) * 1_000_000_000 + nanos)
}

/// A time in RFC 3339, nanoseconds; of the years 1970 to 2261.
pub(crate) fn rfc3339(text: &str) -> Option<i64> {
    let zoned = text.ends_with(['Z', 'z']) || text.get(19..)?.contains(['+', '-']);
    timestamp(text, Clock { now: 0, offset: 0 }).filter(|_| zoned)
}

/// RFC 3339, also with a blank for `T`, a comma before the fraction, and no zone.
fn timestamp(text: &str, clock: Clock) -> Option<i64> {
    let (date, rest) = (text.get(..10)?, text.get(11..)?);
    if !matches!(text.as_bytes()[10], b'T' | b't' | b' ') {
        return None;
    }
    let mut numbers = date.split('-').map(|n| if n.bytes().all(|b| b.is_ascii_digit()) { n.parse::<i64>().ok() } else { None });
    let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let zone = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock_word, zone) = rest.split_at(zone);
    let offset = match zone {
        "" => i64::from(clock.offset),
        "Z" | "z" => 0,
        zone => {
            let (hours, minutes) = zone.get(1..)?.split_once(':').or_else(|| zone.get(1..3).zip(zone.get(3..5)))?;
            let part = |t: &str, most: i64| t.parse::<i64>().ok().filter(|n| t.len() == 2 && (0..=most).contains(n));
            let seconds = part(hours, 23)? * 3600 + part(minutes, 59)? * 60;
            if zone.starts_with('-') { -seconds } else { seconds }
        }
    };
    let days = days_from_civil(year, month, day)?;
    days.checked_mul(86_400_000_000_000)?.checked_add(time_of_day(clock_word)?)?.checked_sub(offset * 1_000_000_000)
}

/// Days since 1970-01-01 of a date of the years 1970 to 2261.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let most = *lengths.get(usize::try_from(month - 1).ok()?)?;
    if !(1970..=2261).contains(&year) || !(1..=most).contains(&day) {
        return None;
    }
    // Howard Hinnant's algorithm: years begin in March, so that the leap day comes last.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Cuts a stream into messages: by octet counting where a message begins with its length (RFC 6587, 3.4.1), else at line ends.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold no line end.
    searched: usize,
    most: usize,
    /// The rest of a line that is too long is passed over.
    skipping: bool,
    /// Messages that were cut because they are too long.
    pub cut: u64,
}

impl Framer {
    /// Messages of at most `most` bytes; the rest of a longer one is dropped.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { buffer: Vec::new(), searched: 0, most: most.max(16), skipping: false, cut: 0 }
    }

    /// Takes bytes from the stream and calls `each` for every message that is complete.
    pub fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(&[u8])) {
        self.buffer.extend_from_slice(bytes);
        let mut from = 0;
        loop {
            let rest = &self.buffer[from..];
            if let (false, Some((digits, length))) = (self.skipping, counted(rest)) {
                let kept = length.min(self.most);
                if rest.len() < digits + kept {
                    break;
                }
                each(&rest[digits..digits + kept]);
                if length > kept {
                    // The rest of it ends nowhere that could be told from a line.
                    self.cut += 1;
                    self.skipping = true;
                }
                from += digits + kept;
                self.searched = 0;
                continue;
            }
            match memchr::memchr(b'\n', &rest[self.searched.min(rest.len())..]).map(|at| at + self.searched) {
                Some(end) => {
                    if !std::mem::take(&mut self.skipping) && !rest[..end].trim_ascii().is_empty() {
                        each(&rest[..end]);
                    }
                    from += end + 1;
                    self.searched = 0;
                }
                None if rest.len() > self.most => {
                    if !self.skipping {
                        each(&rest[..self.most]);
                        self.cut += 1;
                        self.skipping = true;
                    }
                    from = self.buffer.len();
                    self.searched = 0;
                    break;
                }
                None => {
                    self.searched = rest.len();
                    break;
                }
            }
        }
        self.buffer.drain(..from);
    }

    /// The stream has ended: what is left is a message too.
    pub fn finish(&mut self, each: &mut dyn FnMut(&[u8])) {
        let rest = std::mem::take(&mut self.buffer);
        if !self.skipping && !rest.trim_ascii().is_empty() {
            each(&rest);
        }
    }
}

/// `123 `: the bytes of the count, and the count.
fn counted(bytes: &[u8]) -> Option<(usize, usize)> {
    let digits = bytes.iter().take(7).take_while(|b| b.is_ascii_digit()).count();
    // A message begins with `<` behind its count; so a bare line that begins with a number is a line.
    if digits == 0 || bytes[0] == b'0' || bytes.get(digits) != Some(&b' ') || bytes.get(digits + 1) != Some(&b'<') {
        return None;
    }
    let length = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    Some((digits + 1, length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-27T19:00:00Z.
    const CLOCK: Clock = Clock { now: 1_795_806_000_000_000_000, offset: 0 };

    fn shown(line: &str) -> String {
        let m = parse(line, CLOCK);
        let priority = m.facility.zip(m.severity).map_or_else(|| "-".to_owned(), |(f, s)| format!("{f}.{s}"));
        let time = m.time.map_or_else(|| "-".to_owned(), |t| ((t - CLOCK.now) / 1_000_000).to_string());
        let data: Vec<String> = m.data.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("{priority} {time} {}|{}|{}|{}|{}|{}", m.host, m.app, m.process, m.id, data.join(","), m.text)
    }

    #[test]
    fn every_form_is_read() {
        for (line, wanted) in [
            (
                r#"<165>1 2026-11-27T19:00:01.5Z host app 12 ID47 [ex@1 a="b \"q\"" c="d"][y] the text"#,
                r#"20.5 1500 host|app|12|ID47|ex@1.a=b "q",ex@1.c=d|the text"#,
            ),
            ("<34>1 - - - - - - \u{feff}only text", "4.2 - |||||only text"),
            ("<34>1 2026-11-27T20:00:00+01:00 h a - - -", "4.2 0 h|a||||"),
            ("<34>Nov 27 19:00:02 mymachine su[9]: failed\n", "4.2 2000 mymachine|su|9|||failed"),
            ("<13>Nov  7 19:00:00 host cron: x: y", "1.5 -1728000000 host|cron||||x: y"),
            ("<13>Nov 27 2026 19:00:00 host app: x", "1.5 0 host|app||||x"),
            ("<13>just text: here", "1.5 - |||||just text: here"),
            ("Nov 27 19:00:00 bp1 blueplanet[77]: LOS on circuit CKT-1", "- 0 bp1|blueplanet|77|||LOS on circuit CKT-1"),
            ("2026-11-27T19:00:00.250Z bp1 blueplanet: up", "- 250 bp1|blueplanet||||up"),
            ("2026-11-27 19:00:00,250 bp1 blueplanet: up", "- 250 bp1|blueplanet||||up"),
            ("<132>bp1 blueplanet[77]: no time", "16.4 - bp1|blueplanet|77|||no time"),
            ("<34>1 nonsense", "4.2 - |||||1 nonsense"),
            ("", "- - |||||"),
            ("<999>x", "- - |||||<999>x"),
        ] {
            assert_eq!(shown(line), wanted, "{line}");
        }
    }

    #[test]
    fn a_year_is_chosen_so_that_the_time_is_near() {
        // 2026-01-01T00:30:00Z.
        let clock = Clock { now: 1_767_227_400_000_000_000, offset: 0 };
        let m = parse("<1>Dec 31 23:59:00 h a: x", clock);
        assert_eq!(m.time, Some(clock.now - 31 * 60 * 1_000_000_000));
    }

    fn frames(pieces: &[&[u8]], most: usize) -> (Vec<String>, u64) {
        let mut framer = Framer::new(most);
        let mut out = Vec::new();
        let mut each = |m: &[u8]| out.push(String::from_utf8_lossy(m).into_owned());
        pieces.iter().for_each(|p| framer.push(p, &mut each));
        framer.finish(&mut each);
        (out, framer.cut)
    }

    #[test]
    fn streams_are_cut_by_count_and_by_line() {
        let wanted = ["<1>a\nb", "<2>line", "<3>c", "rest"].map(str::to_owned).to_vec();
        assert_eq!(frames(&[b"6 <1>a\nb<2>line\n4 <3", b">c\n", b"rest"], 100), (wanted, 0));
        let long = [b'x'; 100];
        assert_eq!(frames(&[&long, &long, b"\nok\n"], 50), (vec!["x".repeat(50), "ok".to_owned()], 1));
    }

    proptest! {
        #[test]
        fn any_line_is_survived_and_keeps_its_end(line in "(<[0-9]{0,4}>)?(1 )?[ -~\\[\\]\"ü]{0,80}") {
            let m = parse(&line, CLOCK);
            prop_assert!(line.trim_end_matches(['\n', '\r', '\0']).ends_with(m.text));
        }

        #[test]
        fn framing_does_not_depend_on_how_the_stream_arrives(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'<'), Just(b' '), b'0'..=b'9', b'a'..=b'c'], 0..120),
            cut in 0usize..120,
        ) {
            let cut = cut.min(bytes.len());
            let whole = frames(&[&bytes], 1000);
            prop_assert_eq!(frames(&[&bytes[..cut], &bytes[cut..]], 1000), whole);
        }
    }
}
