//! What a request presents: the `Authorization` header (RFC 7617, RFC 6750) and the session cookie (RFC 6265).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, header};

use crate::secret::LONGEST;

/// Who somebody says they are. Has no `Debug`: secrets do not reach logs by accident.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user's name and password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// An API key.
    Bearer(String),
}

/// A header that is there and cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Another scheme.
    #[error("the Authorization header has a scheme other than Basic and Bearer")]
    Scheme,
    /// Not what its scheme says.
    #[error("the Authorization header cannot be read")]
    Value,
    /// More than one header, or one too long.
    #[error("there is more than one Authorization header, or it is too long")]
    Size,
}

/// The credential in the headers of a request; `None` where there is no `Authorization`.
///
/// # Errors
/// [`Malformed`] where there is one that cannot be read; it counts as a wrong one.
pub fn presented(headers: &HeaderMap) -> Result<Option<Credential>, Malformed> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.len() > 2 * LONGEST {
        return Err(Malformed::Size);
    }
    let text = value.to_str().map_err(|_| Malformed::Value)?.trim();
    let (scheme, rest) = text.split_once(' ').ok_or(Malformed::Value)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return match rest {
            "" => Err(Malformed::Value),
            key if key.len() > LONGEST => Err(Malformed::Size),
            key => Ok(Some(Credential::Bearer(key.to_owned()))),
        };
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Malformed::Scheme);
    }
    let bytes = STANDARD.decode(rest).or_else(|_| STANDARD_NO_PAD.decode(rest)).map_err(|_| Malformed::Value)?;
    let text = String::from_utf8(bytes).map_err(|_| Malformed::Value)?;
    let (user, password) = text.split_once(':').ok_or(Malformed::Value)?;
    if user.is_empty() || password.is_empty() {
        return Err(Malformed::Value);
    }
    if password.len() > LONGEST {
        return Err(Malformed::Size);
    }
    Ok(Some(Credential::Basic { user: user.to_owned(), password: password.to_owned() }))
}

/// The value of the cookie `name`.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(n, _)| *n == name).map(|(_, value)| value.trim_matches('"')).find(|v| !v.is_empty() && v.len() <= LONGEST)
}
