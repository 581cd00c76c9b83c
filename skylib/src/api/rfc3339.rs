//! `Rfc3339`: a date and time of a resource.

use std::fmt;
use std::str::FromStr;

use jiff::civil;
use serde::{Deserialize, Deserializer, Serialize};

use crate::time::Timestamp;

/// Valid RFC 3339 date and time, stored exactly as its author wrote it.
///
/// The default, the first day of the year 1, means "not set".
///
/// ```
/// use skylib::api::{ParseRfc3339Error, Rfc3339};
/// use skylib::time::Timestamp;
/// assert_eq!(Rfc3339::default().to_string(), "0001-01-01T00:00:00Z");
/// assert_eq!(Rfc3339::from(Timestamp::from_ms(500)).to_string(), "1970-01-01T00:00:00.5Z");
/// let written: Rfc3339 = "2025-02-03T09:10:11.500+01:00".parse()?;
/// assert_eq!(written.as_str(), "2025-02-03T09:10:11.500+01:00");
/// assert!("2025-02-30T09:10:11Z".parse::<Rfc3339>().is_err());
/// # Ok::<(), ParseRfc3339Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rfc3339(String);

impl Rfc3339 {
    /// Returns the string as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Rfc3339 {
    type Err = ParseRfc3339Error;

    /// Parses `2025-02-03T09:10:11.5Z`, or the same with an offset such as `+01:00` instead of
    /// `Z`. The fraction may have any number of digits.
    ///
    /// # Errors
    /// Returns [`ParseRfc3339Error`] if the string has another form, or names a day that does not
    /// exist.
    fn from_str(text: &str) -> Result<Self, ParseRfc3339Error> {
        if is_rfc3339(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseRfc3339Error)
        }
    }
}

/// Error returned if a string is not a valid [`Rfc3339`] date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date in RFC 3339 format")]
pub struct ParseRfc3339Error;

/// Returns whether the string is a date, `T`, a time without leap second, and an offset.
///
/// `jiff` alone would accept other forms of ISO 8601 (a space for the `T`, `+01`), which Skydive
/// rejects, and would reject a fraction of more than nine digits, which Skydive accepts.
fn is_rfc3339(text: &str) -> bool {
    let Some((date_time, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else {
        return false;
    };
    has_shape(date_time, "0000-00-00T00:00:00")
        && !date_time.ends_with("60")
        && date_time.parse::<civil::DateTime>().is_ok()
        && without_fraction(rest).is_some_and(is_offset)
}

/// Removes a leading `.` and its digits; `None` if no digit follows the `.`.
fn without_fraction(text: &str) -> Option<&str> {
    let Some(fraction) = text.strip_prefix('.') else {
        return Some(text);
    };
    let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < fraction.len()).then_some(rest)
}

fn is_offset(text: &str) -> bool {
    text == "Z"
        || text.strip_prefix(['+', '-']).is_some_and(|offset| {
            has_shape(offset, "00:00") && offset.parse::<civil::Time>().is_ok()
        })
}

/// Returns whether a string has a shape, in which `0` matches any digit.
fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(byte, wanted): (u8, u8)| match wanted {
        b'0' => byte.is_ascii_digit(),
        wanted => byte == wanted,
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

impl From<Timestamp> for Rfc3339 {
    /// Formats a timestamp in UTC.
    fn from(time: Timestamp) -> Self {
        Self(time.to_rfc3339())
    }
}

impl Default for Rfc3339 {
    fn default() -> Self {
        Self("0001-01-01T00:00:00Z".to_owned())
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Rfc3339 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            let found = serde::de::Unexpected::Str(&text);
            serde::de::Error::invalid_value(found, &"a date in RFC 3339 format")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for good in [
            "0000-02-29T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "2024-02-29T23:59:59.123456789Z",
            "2025-02-03T09:10:11.123456789012Z",
            "2025-12-31T00:00:00-23:59",
            "9999-12-31T23:59:59-23:59",
        ] {
            assert_eq!(good.parse::<Rfc3339>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "2025-02-03",
            "2025-02-03 09:10:11Z",
            "2025-02-03t09:10:11Z",
            "2025-02-03T09:10:11z",
            "2025-02-03T09:10:11",
            "2025-02-03T09:10:11.Z",
            "2025-02-03T09:10:11,5Z",
            "2025-02-03T09:10:11.5",
            "2025-13-03T09:10:11Z",
            "2023-02-29T09:10:11Z",
            "1900-02-29T09:10:11Z",
            "2025-02-03T24:00:00Z",
            "2025-02-03T09:10:60Z",
            "2025-02-03T09:10:11+24:00",
            "2025-02-03T09:10:11+01:60",
            "2025-02-03T09:10:11+01",
            "2025-02-03T09:10:11Z[UTC]",
            "+025-02-03T09:10:11Z",
            "2025-02-03T09:10:11Zé",
            "éééééééééééééééééééé",
        ] {
            assert_eq!(bad.parse::<Rfc3339>(), Err(ParseRfc3339Error), "{bad}");
        }
    }
}
