//! Upper and lower case as Go's `unicode` has them: character by character, each becomes one.

/// A character's upper case, or itself.
#[must_use]
pub fn go_upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => upper,
        _ => match c {
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => after(c, 8),
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => after(c, 9),
            c => c,
        },
    }
}

fn after(c: char, by: u32) -> char {
    char::from_u32(c as u32 + by).unwrap_or(c)
}

/// A character's lower case, or itself.
#[must_use]
pub fn go_lower(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) => lower,
        // The only one: a capital I with a dot.
        _ => 'i',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_becomes_one() {
        let cased = |f: fn(char) -> char, t: &str| t.chars().map(f).collect::<String>();
        assert_eq!(cased(go_upper, "straße ŉ ᾳ ǆ"), "STRAßE ŉ ᾼ Ǆ");
        assert_eq!(cased(go_lower, "İSTANBUL ΟΔΟΣ"), "istanbul οδοσ");
    }
}
