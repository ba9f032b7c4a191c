//! Random rows and random questions, from a seed.

use model::{Attr, Event, Group, Link, Log, Scope, Span, SpanId, TimeRange, TraceId, Value};
use regex::Regex;
use wire::{LogSink, SpanSink};

use crate::contract::{Column, CompareOp, Field, Literal, MemberTest, Predicate};

#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

/// Where the rows' times begin: the last minutes of an hour, so that several hours occur.
pub(crate) const START: i64 = 1_700_000_000_000_000_000;
/// How far they reach.
pub(crate) const WIDTH: i64 = 3 * model::HOUR_NS;

const KEYS: [&str; 8] = ["http.route", "http.Route", "n", "name", "a\"b", "time", "service.name", "ü"];
const TEXTS: [&str; 7] = ["", "a", "GET /x", "checkout", "ünïcode \u{1F600}", "line\nbreak \"quoted\" \\", "b"];

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u64) as usize]
    }

    pub(crate) fn time(&mut self) -> i64 {
        // Coarse, so that times repeat.
        START + (self.below(2000) as i64) * (WIDTH / 2000)
    }

    fn value(&mut self) -> Value<'static> {
        match self.below(12) {
            0 => Value::Bool(self.chance(50)),
            1..=3 => Value::Int(self.below(5) as i64 - 2),
            4 => Value::Int(self.next() as i64),
            5 => Value::Double(*[0.5, -0.0, 2.0, f64::INFINITY, f64::NAN, 1e300].get(self.below(6) as usize).unwrap()),
            6 => Value::Bytes(vec![0, 255, self.below(3) as u8].into()),
            7 => Value::Nested(r#"{"arrayValue":{"values":[{"intValue":"1"},{"stringValue":"a"}]}}"#.into()),
            _ => Value::Str(self.pick(&TEXTS)),
        }
    }

    fn attributes(&mut self, rare: &'static [String]) -> Vec<Attr<'static>> {
        let mut out = Vec::new();
        for key in KEYS {
            if self.chance(30) {
                out.push(Attr { key, value: self.value() });
            }
        }
        if self.chance(20) {
            out.push(Attr { key: &rare[self.below(rare.len() as u64) as usize], value: self.value() });
        }
        if self.chance(5) && !out.is_empty() {
            // A key twice: the first counts.
            let key = out[0].key;
            out.push(Attr { key, value: self.value() });
        }
        out
    }

    fn id(&mut self) -> u64 {
        self.next() | 1
    }
}

/// Keys that few rows have.
pub(crate) fn rare_keys() -> &'static [String] {
    static KEYS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    KEYS.get_or_init(|| (0..150).map(|i| format!("rare.{i}")).collect())
}

fn with_group(random: &mut Random, labels: bool, each: impl FnOnce(&Group<'_>)) {
    let resource = random.attributes(rare_keys());
    let scope = if random.chance(30) { random.attributes(rare_keys()) } else { Vec::new() };
    let mut pairs = Vec::new();
    if labels {
        for name in ["env", "level", "service_name"] {
            if random.chance(70) {
                pairs.push((name, random.pick(&["a", "b", "c\"d"])));
            }
        }
    }
    each(&Group {
        resource: &resource,
        resource_dropped: random.below(2) as u32,
        resource_schema_url: random.pick(&["", "https://example.invalid/1"]),
        scope_name: random.pick(&["", "lib"]),
        scope_version: random.pick(&["", "1.0"]),
        scope: &scope,
        scope_dropped: 0,
        scope_schema_url: "",
        labels: &pairs,
    });
}

/// Feeds `count` random spans to both sinks.
pub(crate) fn spans(random: &mut Random, count: usize, a: &mut dyn SpanSink, b: &mut dyn SpanSink) {
    for i in 0..count {
        if i == 0 || random.chance(10) {
            with_group(random, false, |g| {
                a.group(g);
                b.group(g);
            });
        }
        let attributes = random.attributes(rare_keys());
        let nested = random.attributes(rare_keys());
        let nested: Vec<Attr<'_>> = nested.into_iter().filter(|a| !matches!(a.value, Value::Nested(_))).collect();
        let (events, links) = match random.below(6) {
            0 => (
                vec![
                    Event { time: random.time(), name: "exception \"x\"", attributes: 0..nested.len(), dropped_attributes: 1 },
                    Event { time: 0, name: "", attributes: 0..0, dropped_attributes: 0 },
                ],
                vec![Link {
                    trace_id: TraceId([7; 16]),
                    span_id: SpanId([8; 8]),
                    trace_state: "k=v",
                    flags: 1,
                    attributes: 0..nested.len(),
                    dropped_attributes: 2,
                }],
            ),
            _ => (Vec::new(), Vec::new()),
        };
        let start = random.time();
        let span = Span {
            trace_id: TraceId(u128::from(random.below(40) + 1).to_be_bytes()),
            span_id: SpanId(random.id().to_be_bytes()),
            parent_span_id: if random.chance(30) { SpanId::NONE } else { SpanId(random.id().to_be_bytes()) },
            trace_state: random.pick(&["", "", "a=b"]),
            flags: random.below(3) as u32 * 0x7fff_ffff,
            name: random.pick(&TEXTS),
            kind: random.below(6) as i32,
            start,
            end: start + random.below(1_000_000) as i64 - 1000,
            status_code: random.below(3) as i32,
            status_message: random.pick(&["", "", "upstream"]),
            attributes: &attributes,
            dropped_attributes: random.below(2) as u32,
            events: &events,
            dropped_events: random.below(2) as u32,
            links: &links,
            dropped_links: 0,
            nested: &nested,
        };
        a.span(&span);
        b.span(&span);
    }
}

/// Feeds `count` random lines to both sinks.
pub(crate) fn logs(random: &mut Random, count: usize, a: &mut dyn LogSink, b: &mut dyn LogSink) {
    for i in 0..count {
        if i == 0 || random.chance(10) {
            with_group(random, true, |g| {
                a.group(g);
                b.group(g);
            });
        }
        let attributes = random.attributes(rare_keys());
        let trace = TraceId(u128::from(random.below(40)).to_be_bytes());
        let line = match random.below(6) {
            // The number keeps lines apart: repeats have tests of their own.
            0 => format!("{}{i}{}", random.pick(&TEXTS), random.next()),
            1 => format!("level=info msg=\"hello {}\" took={}ns", random.below(50), random.next()),
            2 => format!("plain words and {} numbers", random.next()),
            _ => format!(
                r#"{{"trace_id":"{trace}","status":{},"duration_ms":{:.2},"path":"/a/{}","message":"some {} words"}}"#,
                200 + random.below(5) * 100,
                random.next() as f64 / 100.0,
                random.below(30),
                random.below(7),
            ),
        };
        let body = match random.below(20) {
            0 => Value::Int(random.next() as i64),
            1 => Value::Bytes(random.next().to_be_bytes().to_vec().into()),
            _ => Value::Str(&line),
        };
        let time = random.time();
        let log = Log {
            time,
            observed: if random.chance(50) { 0 } else { time + 1 },
            severity_number: random.below(25) as i32,
            severity_text: random.pick(&["", "INFO", "error"]),
            body,
            event_name: random.pick(&["", "", "device.app.lifecycle"]),
            trace_id: if random.chance(50) { TraceId::NONE } else { trace },
            span_id: if random.chance(50) { SpanId::NONE } else { SpanId(random.id().to_be_bytes()) },
            flags: random.below(2) as u32,
            attributes: &attributes,
            dropped_attributes: random.below(2) as u32,
        };
        a.log(&log);
        b.log(&log);
    }
}

const FIELDS: [Field; 25] = [
    Field::Time,
    Field::TraceId,
    Field::SpanId,
    Field::ScopeName,
    Field::ScopeVersion,
    Field::Flags,
    Field::DroppedAttributes,
    Field::GroupExtra,
    Field::ParentSpanId,
    Field::Name,
    Field::Kind,
    Field::Duration,
    Field::StatusCode,
    Field::StatusMessage,
    Field::TraceState,
    Field::DroppedEvents,
    Field::DroppedLinks,
    Field::Events,
    Field::Links,
    Field::Body,
    Field::BodyType,
    Field::Observed,
    Field::SeverityNumber,
    Field::SeverityText,
    Field::EventName,
];

/// Every column there is.
pub(crate) fn everything() -> Vec<Column> {
    FIELDS.into_iter().map(Column::Field).chain([Column::Attributes(None)]).collect()
}

impl Random {
    pub(crate) fn range(&mut self) -> TimeRange {
        match self.below(4) {
            0 => TimeRange::ALL,
            _ => {
                let (a, b) = (self.time(), self.time());
                TimeRange::new(a.min(b), a.max(b))
            }
        }
    }

    pub(crate) fn column(&mut self) -> Column {
        match self.below(3) {
            0 => Column::Field(FIELDS[self.below(FIELDS.len() as u64) as usize]),
            _ => {
                let key = if self.chance(80) {
                    self.pick(&KEYS).to_owned()
                } else {
                    match self.below(3) {
                        0 => "env".to_owned(),
                        1 => "service_name".to_owned(),
                        _ => rare_keys()[self.below(150) as usize].clone(),
                    }
                };
                let scope = if self.chance(50) { None } else { Some(Scope::ALL[self.below(4) as usize]) };
                Column::Attribute { scope, key }
            }
        }
    }

    fn literal(&mut self) -> Literal {
        match self.below(8) {
            0 => Literal::Bool(self.chance(50)),
            1 | 2 => Literal::Int(self.below(5) as i64 - 2),
            3 => Literal::Double(*[0.5, 2.0, 1.0, f64::NAN, -1.0].get(self.below(5) as usize).unwrap()),
            4 => Literal::Bytes(u128::from(self.below(40)).to_be_bytes().to_vec()),
            5 => Literal::Int(self.time()),
            _ => Literal::Str(self.pick(&TEXTS).to_owned()),
        }
    }

    pub(crate) fn predicate(&mut self, depth: u32) -> Predicate {
        const OPS: [CompareOp; 6] = [CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge];
        const NEEDLES: [&str; 7] = ["a", "", "status\":500", "hello 7", "words", "00000000000000000000000000000007", "ü"];
        let inner = |random: &mut Self, n: u64| (0..random.below(n) + 1).map(|_| random.predicate(depth - 1)).collect();
        match self.below(if depth == 0 { 7 } else { 10 }) {
            0 => Predicate::True,
            1..=3 => Predicate::Compare { column: self.column(), op: OPS[self.below(6) as usize], value: self.literal() },
            4 => {
                let column = if self.chance(50) { Column::Field(Field::Body) } else { self.column() };
                Predicate::Contains { column, needle: self.pick(&NEEDLES).to_owned() }
            }
            5 => Predicate::Matches {
                column: self.column(),
                regex: Regex::new(self.pick(&["a|b", "^GET", "ch.*out$", ".*", "[0-9]{3}"])).unwrap(),
            },
            6 => match self.below(8) {
                3 | 4 => Predicate::Member {
                    name: self.pick(&["status", "duration_ms", "path", "nothing"]).to_owned(),
                    test: match self.below(4) {
                        0 => MemberTest::Absent,
                        1 => MemberTest::Plain,
                        _ => MemberTest::Compare(OPS[self.below(6) as usize], [200.0, 500.0, 1.5, 0.0][self.below(4) as usize]),
                    },
                },
                0 => Predicate::Exists(Column::Attributes(Some(Scope::ALL[self.below(4) as usize]))),
                1 => match self.column() {
                    column @ Column::Attribute { .. } => Predicate::Nested(column),
                    column => Predicate::Exists(column),
                },
                2 => {
                    let ids = (0..self.below(6)).map(|_| u128::from(self.below(40)).to_be_bytes().to_vec()).collect();
                    Predicate::OneOf { field: Field::TraceId, ids: std::sync::Arc::new(crate::IdSet::new(ids)) }
                }
                _ => Predicate::Exists(self.column()),
            },
            7 => Predicate::And(inner(self, 3)),
            8 => Predicate::Or(inner(self, 3)),
            _ => Predicate::Not(Box::new(self.predicate(depth - 1))),
        }
    }
}
