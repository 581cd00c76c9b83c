//! `Date`: a point in time as resources show it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::time::Timestamp;

/// A point in time as RFC 3339 writes it, kept as it was written; the first day of year 1 is "not
/// set".
///
/// ```
/// use skylib::api::Date;
/// use skylib::time::Timestamp;
/// assert_eq!(Date::default().to_string(), "0001-01-01T00:00:00Z");
/// assert_eq!(Date::of(Timestamp::from_ms(500)).to_string(), "1970-01-01T00:00:00.5Z");
/// assert!(Date::parse("2025-02-03T09:10:11+01:00").is_some());
/// assert!(Date::parse("2025-02-30T09:10:11Z").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Date(String);

impl Date {
    /// From a timestamp, in UTC.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        Self(time.to_rfc3339())
    }

    /// From text: `2025-02-03T09:10:11.5Z`, or with an offset such as `+01:00` for the `Z`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let (time, rest) = rest.strip_prefix('T')?.split_at_checked(8)?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
        let zone = match rest.strip_prefix('.') {
            Some(fraction) => {
                let end = fraction.find(|c: char| !c.is_ascii_digit())?;
                fraction.get(end..).filter(|_| end > 0)?
            }
            None => rest,
        };
        let is_zone = zone == "Z"
            || zone
                .strip_prefix(['+', '-'])
                .and_then(|offset| numbers(offset, ':', [2, 2]))
                .is_some_and(|[hours, minutes]| hours < 24 && minutes < 60);
        let is_date = (1..=12).contains(&month) && (1..=days(year, month)).contains(&day);
        let is_time = hour < 24 && minute < 60 && second < 60;
        (is_zone && is_date && is_time).then(|| Self(text.to_owned()))
    }
}

/// Numbers of so many digits each, with something between them.
fn numbers<const N: usize>(text: &str, separator: char, lengths: [usize; N]) -> Option<[u32; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let part = parts.next()?;
        if part.len() != length || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn days(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Default for Date {
    fn default() -> Self {
        Self("0001-01-01T00:00:00Z".to_owned())
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let unexpected = || {
            let found = serde::de::Unexpected::Str(&text);
            serde::de::Error::invalid_value(found, &"a time as RFC 3339 writes it")
        };
        Self::parse(&text).ok_or_else(unexpected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for good in [
            "0001-01-01T00:00:00Z",
            "2024-02-29T23:59:59.123456789Z",
            "2025-12-31T00:00:00-23:59",
        ] {
            assert_eq!(Date::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "2025-02-03",
            "2025-02-03 09:10:11Z",
            "2025-02-03T09:10:11",
            "2025-02-03T09:10:11.Z",
            "2025-02-03T09:10:11.5",
            "2025-13-03T09:10:11Z",
            "2023-02-29T09:10:11Z",
            "1900-02-29T09:10:11Z",
            "2025-02-03T24:00:00Z",
            "2025-02-03T09:10:60Z",
            "2025-02-03T09:10:11+24:00",
            "2025-02-03T09:10:11+01",
            "+025-02-03T09:10:11Z",
            "2025-02-03T09:10:11Zé",
            "éééééééééééééééééééé",
        ] {
            assert_eq!(Date::parse(bad), None, "{bad}");
        }
    }
}
