//! A task: its JSON, the checks on what a client may send, and the statements that keep it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::Row;
use serde::Serialize;
use serde_json::{Map, Value};

use super::database::{Session, Transaction};

const TITLE_LIMIT: usize = 200;
const COLUMNS: &str = "SELECT id, title, description, completed, created_at FROM tasks";
const BY_ID: &str = "SELECT id, title, description, completed, created_at FROM tasks WHERE id = ?1";

/// A task as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Task {
    pub(crate) id: i64,
    pub(crate) title: String,
    pub(crate) description: Option<String>,
    pub(crate) completed: bool,
    /// ISO 8601 in UTC without a zone, as Python's `isoformat()` of a naive time.
    pub(crate) created_at: String,
}

impl Task {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let created_at: Option<String> = row.get(4)?;
        Ok(Self {
            id: row.get(0)?,
            title: row.get(1)?,
            description: row.get(2)?,
            completed: row.get::<_, Option<bool>>(3)?.unwrap_or(false),
            created_at: created_at.unwrap_or_default().replacen(' ', "T", 1),
        })
    }
}

/// What a client wants a task to be; a field that is absent stays as it is (or gets its default in a new task).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wish {
    pub(crate) title: Option<String>,
    /// `Some(None)` is an explicit null.
    pub(crate) description: Option<Option<String>>,
    pub(crate) completed: Option<bool>,
}

/// Why a body is refused; the text is the API's `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("Title is required")]
    NoTitle,
    #[error("Request body must be a JSON object")]
    NotAnObject,
    #[error("Title must be a string of at most 200 characters")]
    BadTitle,
    #[error("Description must be a string")]
    BadDescription,
    #[error("Completed must be true or false")]
    BadCompleted,
}

impl Wish {
    /// Checks the body of POST: a title is required.
    pub(crate) fn new_task(body: &Value) -> Result<Self, Refusal> {
        // An empty body was answered like a missing title in the seed, whatever its shape.
        let object = match body {
            Value::Null => return Err(Refusal::NoTitle),
            Value::Object(object) => object,
            _ => return Err(Refusal::NotAnObject),
        };
        let wish = Self::read(object)?;
        if wish.title.is_none() { Err(Refusal::NoTitle) } else { Ok(wish) }
    }

    /// Checks the body of PUT: any of the three fields, or none.
    pub(crate) fn change(body: &Value) -> Result<Self, Refusal> {
        Self::read(body.as_object().ok_or(Refusal::NotAnObject)?)
    }

    fn read(object: &Map<String, Value>) -> Result<Self, Refusal> {
        let title = match object.get("title") {
            None => None,
            Some(Value::String(title)) if title.trim().is_empty() => return Err(Refusal::NoTitle),
            Some(Value::String(title)) if title.chars().count() <= TITLE_LIMIT => Some(title.clone()),
            Some(Value::Null) => return Err(Refusal::NoTitle),
            Some(_) => return Err(Refusal::BadTitle),
        };
        let description = match object.get("description") {
            None => None,
            Some(Value::Null) => Some(None),
            Some(Value::String(text)) => Some(Some(text.clone())),
            Some(_) => return Err(Refusal::BadDescription),
        };
        let completed = match object.get("completed") {
            None => None,
            Some(value) => Some(value.as_bool().ok_or(Refusal::BadCompleted)?),
        };
        Ok(Self { title, description, completed })
    }
}

/// All tasks, oldest first.
pub(crate) fn all(session: &mut Session<'_>) -> rusqlite::Result<Vec<Task>> {
    session.query(COLUMNS, [], Task::from_row)
}

/// The task with this id, if there is one.
pub(crate) fn by_id(session: &mut Session<'_>, id: i64) -> rusqlite::Result<Option<Task>> {
    Ok(session.query(BY_ID, [id], Task::from_row)?.pop())
}

/// Inserts a task and returns it as it was kept.
pub(crate) fn insert(session: &mut Session<'_>, wish: &Wish) -> rusqlite::Result<Task> {
    const INSERT: &str = "INSERT INTO tasks (title, description, completed, created_at) VALUES (?1, ?2, ?3, ?4) \
         RETURNING id, title, description, completed, created_at";
    let description = wish.description.clone().unwrap_or_else(|| Some(String::new()));
    let created_at = stored_time(Timestamp::now());
    let parameters = (wish.title.as_deref(), description, wish.completed.unwrap_or(false), created_at);
    let inserted = session.transaction(|transaction| transaction.query(INSERT, parameters, Task::from_row))?;
    inserted.into_iter().next().ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Applies a change in one transaction and returns the task as it is now, or nothing if there is none.
pub(crate) fn update(session: &mut Session<'_>, id: i64, wish: &Wish) -> rusqlite::Result<Option<Task>> {
    const UPDATE: &str = "UPDATE tasks SET title = ?2, description = ?3, completed = ?4 WHERE id = ?1";
    session.transaction(|transaction| {
        let Some(mut task) = lock(transaction, id)? else { return Ok(None) };
        if let Some(title) = &wish.title {
            task.title.clone_from(title);
        }
        if let Some(description) = &wish.description {
            task.description.clone_from(description);
        }
        if let Some(completed) = wish.completed {
            task.completed = completed;
        }
        transaction.execute(UPDATE, (id, &task.title, &task.description, task.completed))?;
        Ok(Some(task))
    })
}

/// Deletes a task; whether there was one.
pub(crate) fn delete(session: &mut Session<'_>, id: i64) -> rusqlite::Result<bool> {
    session.transaction(|transaction| {
        if lock(transaction, id)?.is_none() {
            return Ok(false);
        }
        transaction.execute("DELETE FROM tasks WHERE id = ?1", [id])?;
        Ok(true)
    })
}

/// The task inside a transaction that holds the write lock, so that it cannot vanish before the statement that follows.
fn lock(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<Option<Task>> {
    Ok(transaction.query(BY_ID, [id], Task::from_row)?.pop())
}

/// The database's smoke test: `reads` counts and `writes` inserts, deleted again and rolled back.
pub(crate) fn smoke(session: &mut Session<'_>, reads: u32, writes: u32) -> rusqlite::Result<()> {
    for _ in 0..reads {
        session.query("SELECT COUNT(*) FROM tasks", [], |row| row.get::<_, i64>(0))?;
    }
    if writes == 0 {
        return Ok(());
    }
    session.rolled_back(|transaction| {
        for number in 0..writes {
            let title = format!("smoke-{number}");
            transaction.execute("INSERT INTO tasks (title, description, completed) VALUES (?1, '', 0)", [title])?;
        }
        transaction.execute("DELETE FROM tasks WHERE title LIKE 'smoke-%'", [])?;
        Ok(())
    })
}

/// A time as SQLAlchemy stores it: `2024-05-06 07:08:09.000123`.
fn stored_time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()
}

/// A time as Python's `datetime.isoformat()` shows it.
pub(crate) fn iso_time(at: Timestamp) -> String {
    stored_time(at).replacen(' ', "T", 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_new_task_needs_a_title_and_sound_fields() {
        for (body, refusal) in [
            (json!(null), Refusal::NoTitle),
            (json!({}), Refusal::NoTitle),
            (json!({"title": "  "}), Refusal::NoTitle),
            (json!({"title": null}), Refusal::NoTitle),
            (json!({"title": 5}), Refusal::BadTitle),
            (json!({"title": "x".repeat(201)}), Refusal::BadTitle),
            (json!({"title": "x", "description": 1}), Refusal::BadDescription),
            (json!({"title": "x", "completed": "yes"}), Refusal::BadCompleted),
            (json!([1]), Refusal::NotAnObject),
        ] {
            assert_eq!(Wish::new_task(&body), Err(refusal), "{body}");
        }
        let wish = Wish::new_task(&json!({"title": "ü".repeat(200), "completed": true, "other": 1})).unwrap();
        assert_eq!(wish.completed, Some(true));
        assert_eq!(wish.description, None);
    }

    #[test]
    fn a_change_names_only_what_it_changes() {
        assert_eq!(Wish::change(&json!({})).unwrap(), Wish::default());
        assert_eq!(Wish::change(&json!({"description": null})).unwrap().description, Some(None));
        assert_eq!(Wish::change(&json!(null)), Err(Refusal::NotAnObject));
    }

    #[test]
    fn times_look_like_pythons() {
        let at = Timestamp::from_microsecond(1_700_000_000_000_123).unwrap();
        assert_eq!(stored_time(at), "2023-11-14 22:13:20.000123");
        assert_eq!(iso_time(at), "2023-11-14T22:13:20.000123");
    }
}
