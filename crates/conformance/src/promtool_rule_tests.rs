//! Rule files and rule unit tests of the reference: every expression and series description in them must parse. A file that is
//! bad by its name counts only where an expression is what is bad about it.

use std::path::Path;

use serde_json::Value;

use crate::report::Report;

/// Runs each YAML file of the folder.
pub(crate) fn run(dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(std::fs::DirEntry::path);
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        // Only the first document of a file counts.
        let text = std::fs::read_to_string(file.path())?;
        let first = text.split("\n---").next().unwrap_or("");
        let Ok(document) = serde_saphyr::from_str::<Value>(first) else { continue };
        let mut checked = Checked::default();
        checked.walk(&document);
        let is_bad = name.contains("bad") && !name.contains("test");
        match (is_bad, checked.wrong) {
            (true, Some(_)) => report.case(name, Ok(())),
            (false, Some(why)) => report.case(name, Err(why)),
            (false, None) if checked.count > 0 => report.case(name, Ok(())),
            _ => {}
        }
    }
    Ok(())
}

#[derive(Default)]
struct Checked {
    count: usize,
    wrong: Option<String>,
}

impl Checked {
    fn note<T>(&mut self, text: &str, parsed: Result<T, promql::ParseError>) {
        self.count += 1;
        if let Err(e) = parsed {
            self.wrong.get_or_insert(format!("{text}: {e}"));
        }
    }

    fn walk(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                if let (Some(Value::String(series)), Some(values)) = (map.get("series"), map.get("values")) {
                    let values = values.as_str().map_or_else(|| values.to_string(), str::to_owned);
                    let text = format!("{series} {values}");
                    self.note(&text, promql::parse_series_description(&text));
                }
                match map.get("expr") {
                    Some(Value::String(expr)) => self.note(expr, promql::parse(expr)),
                    Some(Value::Number(expr)) => self.note(&expr.to_string(), promql::parse(&expr.to_string())),
                    _ => {}
                }
                map.values().for_each(|v| self.walk(v));
            }
            Value::Array(items) => items.iter().for_each(|v| self.walk(v)),
            _ => {}
        }
    }
}
