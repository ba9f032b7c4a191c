//! Parts of a date, UTC, of seconds since the Unix epoch.

/// Year, month (1 to 12) and day (1 to 31): the proleptic Gregorian calendar, after Howard Hinnant's `civil_from_days`.
fn civil(seconds: f64) -> (i64, i64, i64) {
    let days = (seconds as i64).div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// NaN stays NaN; all else goes through `part`.
fn part(seconds: f64, part: impl FnOnce(f64) -> i64) -> f64 {
    if seconds.is_finite() { part(seconds) as f64 } else { f64::NAN }
}

/// Milliseconds since the Unix epoch as `2006-01-02T15:04:05.999Z`.
pub(crate) fn rfc3339(ms: i64) -> String {
    let (seconds, fraction) = (ms.div_euclid(1000), ms.rem_euclid(1000));
    let (year, month, day) = civil(seconds as f64);
    let (hour, minute, second) = (seconds.rem_euclid(86_400) / 3600, seconds.rem_euclid(3600) / 60, seconds.rem_euclid(60));
    let fraction = format!("{fraction:03}");
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{point}{fraction}Z")
}

pub(crate) fn year(seconds: f64) -> f64 {
    part(seconds, |s| civil(s).0)
}

pub(crate) fn month(seconds: f64) -> f64 {
    part(seconds, |s| civil(s).1)
}

pub(crate) fn day_of_month(seconds: f64) -> f64 {
    part(seconds, |s| civil(s).2)
}

pub(crate) fn day_of_year(seconds: f64) -> f64 {
    part(seconds, |s| {
        let (year, month, day) = civil(s);
        (1..month).map(|m| month_length(year, m)).sum::<i64>() + day
    })
}

/// 0 for Sunday.
pub(crate) fn day_of_week(seconds: f64) -> f64 {
    part(seconds, |s| ((s as i64).div_euclid(86_400) + 4).rem_euclid(7))
}

pub(crate) fn days_in_month(seconds: f64) -> f64 {
    part(seconds, |s| {
        let (year, month, _) = civil(s);
        month_length(year, month)
    })
}

pub(crate) fn hour(seconds: f64) -> f64 {
    part(seconds, |s| (s as i64).rem_euclid(86_400) / 3600)
}

pub(crate) fn minute(seconds: f64) -> f64 {
    part(seconds, |s| (s as i64).rem_euclid(3600) / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_apart_as_the_calendar_says() {
        // 2024-02-29T23:59:59Z, a Thursday.
        let t = 1_709_251_199.0;
        let parts = [year(t), month(t), day_of_month(t), day_of_week(t), day_of_year(t), days_in_month(t), hour(t), minute(t)];
        assert_eq!(parts, [2024.0, 2.0, 29.0, 4.0, 60.0, 29.0, 23.0, 59.0]);
        // 1969-12-31T23:00:00Z.
        assert_eq!([year(-3600.0), month(-3600.0), hour(-3600.0)], [1969.0, 12.0, 23.0]);
        assert!(year(f64::NAN).is_nan());
    }
}
