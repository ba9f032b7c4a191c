//! Tables: what each format's text becomes, and why it is refused.

use super::*;

/// Entries as lines.
#[derive(Default)]
struct Lines(Vec<String>);

fn show(labels: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",")
}

impl ExpositionSink for Lines {
    fn sample(&mut self, sample: &Exposed<'_>) {
        let mut line = match sample.point {
            Point::Float(value) => format!("{} {value}", show(sample.labels)),
            Point::Histogram(h) => {
                format!("{} count {} sum {} schema {} buckets {:?}", show(sample.labels), h.count, h.sum, h.schema, h.positive)
            }
        };
        if let Some(time) = sample.time_ms {
            line.push_str(&format!(" at {time}"));
        }
        if sample.start_ms != 0 {
            line.push_str(&format!(" since {}", sample.start_ms));
        }
        for e in sample.exemplars {
            line.push_str(&format!(" exemplar {} {} {:?}", show(&e.labels), e.value, e.time_ms));
        }
        self.0.push(line);
    }
    fn kind(&mut self, family: &str, kind: MetricKind) {
        self.0.push(format!("TYPE {family} {}", kind.as_str()));
    }
    fn help(&mut self, family: &str, help: &str) {
        self.0.push(format!("HELP {family} {help}"));
    }
    fn unit(&mut self, family: &str, unit: &str) {
        self.0.push(format!("UNIT {family} {unit}"));
    }
}

fn read(format: Format, bytes: &[u8]) -> Result<Vec<String>, String> {
    read_as(Options { native_histograms: true, classic_too: true, skip_created: true, ..Options::default() }, format, bytes)
}

fn read_as(options: Options, format: Format, bytes: &[u8]) -> Result<Vec<String>, String> {
    let mut lines = Lines::default();
    parse(format, bytes, options, &Limits::default(), &mut lines).map_err(|e| e.to_string())?;
    Ok(lines.0)
}

#[test]
fn text_becomes_samples_with_sorted_labels() {
    let text = "# HELP h A\\nB \\\\ \"c\"\n# TYPE h histogram\nh_bucket{le=\"1\", a=\"x\\\"y\"} 3\n\n  up 1 5\nb{c=\"\"} +Inf\n{\"a.b\"} 2 7\n{\"\",c=\"1\"} 4";
    assert_eq!(
        read(Format::Text, text.as_bytes()).expect("well formed"),
        [
            "HELP h A\nB \\ \"c\"",
            "TYPE h histogram",
            "__name__=h_bucket,a=x\"y,le=1.0 3",
            "__name__=up 1 at 5",
            "__name__=b,c= inf",
            "__name__=a.b 2 at 7",
            "__name__=,c=1 4",
        ]
    );
}

#[test]
fn errors_name_their_line_in_prometheus_words() {
    for (format, text, error) in [
        (Format::Text, "up 1\nup one\n", "line 2: strconv.ParseFloat: parsing \"one\": invalid syntax while parsing: \"up one\""),
        (Format::Text, "up{a=\"1\",a=\"2\"} 1\n", "line 1: label name \"a\" is not unique: invalid sample"),
        (Format::Text, "# TYPE up upper\n", "line 1: invalid metric type \"upper\""),
        (
            Format::Text,
            "up 1 2 3\n",
            "line 1: expected next entry after timestamp, got \"3\\n\" (\"TIMESTAMP\") while parsing: \"up 1 2 3\\n\"",
        ),
        (Format::Text, "\n\n{} 1\n", "line 3: metric name not set while parsing: \"{} 1\""),
        (
            Format::Text,
            "up 1 -5\n",
            "line 1: expected timestamp or new record, got \"-\" (\"INVALID\") while parsing: \"up 1 -\"",
        ),
        (Format::OpenMetrics, "up 1\n", "line 2: data does not end with # EOF"),
        (Format::OpenMetrics, "# EOF\nup 1\n", "line 1: unexpected data after # EOF"),
    ] {
        assert_eq!(read(format, text.as_bytes()), Err(format!("the exposition at {error}")), "{text}");
    }
}

#[test]
fn created_lines_become_starts_of_their_group_only() {
    let text =
        "# TYPE a counter\na_total{x=\"1\"} 1\na_created{x=\"1\"} 2.5\na_total{x=\"2\"} 1\n# TYPE g gauge\ng_created 3\n# EOF\n";
    assert_eq!(
        read(Format::OpenMetrics, text.as_bytes()).expect("well formed"),
        ["TYPE a counter", "__name__=a_total,x=1 1 since 2500", "__name__=a_total,x=2 1", "TYPE g gauge", "__name__=g_created 3",]
    );
}

/// A field of a message: a tag, and the length of what follows.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat()
}

fn double(number: u8, value: f64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn delimited(message: &[u8]) -> Vec<u8> {
    [&[u8::try_from(message.len()).expect("short")], message].concat()
}

#[test]
fn protobuf_becomes_what_the_text_formats_write() {
    let label = field(1, &[field(1, b"x"), field(2, b"1")].concat());
    let time = [0x08, 2, 0x10, 0x80, 0xc2, 0xd7, 0x2f];
    let exemplar = [field(1, &[field(1, b"id"), field(2, b"9")].concat()), double(2, 4.0), field(3, &time)].concat();
    let counter = field(3, &[double(1, 3.0), field(2, &exemplar), field(3, &[0x08, 1])].concat());
    let family = [field(1, b"c_total"), field(2, b"H"), field(4, &[label, counter].concat())].concat();
    assert_eq!(
        read(Format::Protobuf, &delimited(&family)).expect("well formed"),
        ["HELP c_total H", "TYPE c_total counter", "__name__=c_total,x=1 3 since 1000 exemplar id=9 4 Some(2100)"]
    );

    // A native histogram of schema 1 with counts 1, 3 in its two buckets, and one classic bucket.
    let bucket = field(3, &[&[0x08, 4][..], &double(2, 2.0)].concat());
    let native = [&[0x08, 4][..], &double(2, 5.0), &bucket, &[0x28, 2], &field(12, &[0x10, 2]), &field(13, &[2, 4])].concat();
    let family = [field(1, b"h"), vec![0x18, 4], field(4, &field(7, &native))].concat();
    assert_eq!(
        read(Format::Protobuf, &delimited(&family)).expect("well formed"),
        [
            "HELP h ",
            "TYPE h histogram",
            "__name__=h count 4 sum 5 schema 1 buckets [1.0, 3.0]",
            "__name__=h_count 4",
            "__name__=h_sum 5",
            "__name__=h_bucket,le=2.0 4",
            "__name__=h_bucket,le=+Inf 4",
        ]
    );
}

#[test]
fn protobuf_that_cannot_be_is_refused() {
    for (bytes, error) in [
        (vec![9, 1], "protobuf: MetricFamily ends early at byte 1"),
        (delimited(&field(2, b"H")), "the exposition at line 0: invalid metric name: "),
        (
            delimited(&[field(1, b"a"), vec![0x18, 9]].concat()),
            "the exposition at line 0: unknown metric type for metric \"a\": 9",
        ),
        (
            delimited(&[field(1, b"a"), field(5, b"s")].concat()),
            "the exposition at line 0: unit \"s\" not a suffix of metric \"a\"",
        ),
    ] {
        assert_eq!(read(Format::Protobuf, &bytes), Err(error.to_owned()));
    }
}

#[test]
fn the_format_is_what_the_content_type_says() {
    for (content_type, fallback, format) in [
        ("text/plain; version=0.0.4; charset=utf-8", None, Ok(Format::Text)),
        ("application/openmetrics-text; version=1.0.0", None, Ok(Format::OpenMetrics)),
        (
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            None,
            Ok(Format::Protobuf),
        ),
        ("text/html", Some(Format::Text), Ok(Format::Text)),
        (
            "",
            None,
            Err("non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"),
        ),
        (
            "text/html",
            None,
            Err("received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified for target"),
        ),
    ] {
        assert_eq!(Format::of(content_type, fallback), format.map_err(str::to_owned), "{content_type}");
    }
}

#[test]
fn classic_histograms_become_native_ones_with_custom_buckets() {
    let text = "# TYPE h histogram\nh_bucket{a=\"1\",le=\"1\"} 2 # {x=\"y\"} 0.5\nh_bucket{a=\"1\",le=\"2.5\"} 2\nh_bucket{a=\"1\",le=\"+Inf\"} 3\n\
                h_count{a=\"1\"} 3\nh_sum{a=\"1\"} 7\nh_bucket{le=\"+Inf\"} 4\nh_count 4\nh_sum 1\n\
                # TYPE falls histogram\nfalls_bucket{le=\"1\"} 5\nfalls_bucket{le=\"+Inf\"} 3\nfalls_count 3\nfalls_sum 1\n\
                # TYPE g gauge\ng_count 1\n# EOF\n";
    let custom = Options { custom_buckets: true, ..Options::default() };
    let lines: Vec<String> = read_as(custom, Format::OpenMetrics, text.as_bytes()).expect("well formed");
    let lines: Vec<&str> = lines.iter().map(String::as_str).filter(|l| !l.starts_with("TYPE")).collect();
    let one = "__name__=h,a=1 count 3 sum 7 schema -53 buckets [2.0, 0.0, 1.0] exemplar x=y 0.5 None";
    assert_eq!(lines, [one, "__name__=h count 4 sum 1 schema -53 buckets [4.0]", "__name__=g_count 1"]);
    let both = read_as(Options { classic_too: true, ..custom }, Format::OpenMetrics, text.as_bytes()).expect("well formed");
    assert_eq!((both.iter().filter(|l| l.contains("schema")).count(), both.len()), (2, 3 + 2 + 12 + 1));
}
