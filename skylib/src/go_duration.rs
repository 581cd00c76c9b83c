//! Parser of durations: Go's syntax (`time.ParseDuration`), such as `5s`, `1m30s`, `250ms`, `1.5h`,
//! and `-1h`, with the additional units day and week: `2d`, `1w`.
//!
//! A duration is a sequence of decimal numbers, each followed by a unit: `ns`, `us` (or `µs`),
//! `ms`, `s`, `m`, `h`, `d` (24 hours), or `w` (7 days). An optional sign precedes all of them; a
//! bare `0` needs no unit. The header `X-Resource-TTL`, alert triggers, configuration values, and the
//! step `At` use this syntax.

use std::time::Duration;

/// Parses a non-negative duration.
///
/// ```
/// use std::time::Duration;
/// use skylib::go_duration::{self, GoDurationError};
/// assert_eq!(go_duration::parse("1m30s")?, Duration::from_secs(90));
/// assert_eq!(go_duration::parse("-1s"), Err(GoDurationError::Negative("-1s".into())));
/// # Ok::<(), GoDurationError>(())
/// ```
///
/// # Errors
/// Returns an error if the string is not a duration, is negative, or exceeds 292 years (2^63 - 1
/// ns).
pub fn parse(text: &str) -> Result<Duration, GoDurationError> {
    let ns = parse_signed_ns(text)?;
    let ns = u64::try_from(ns).map_err(|_| GoDurationError::Negative(text.to_owned()))?;
    Ok(Duration::from_nanos(ns))
}

/// Parses a duration of either sign. Returns it in nanoseconds.
///
/// ```
/// use skylib::go_duration::{self, GoDurationError};
/// assert_eq!(go_duration::parse_signed_ns("-1.5ms")?, -1_500_000);
/// # Ok::<(), GoDurationError>(())
/// ```
///
/// # Errors
/// Returns an error if the string is not a duration or its absolute value exceeds 2^63 - 1 ns.
pub fn parse_signed_ns(text: &str) -> Result<i64, GoDurationError> {
    let invalid = || GoDurationError::Invalid(text.to_owned());
    let (is_negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total_ns: u128 = 0;
    while !rest.is_empty() {
        let (component, after) = Component::split_off(text, rest)?;
        total_ns = component
            .ns()
            .and_then(|ns| ns.checked_add(total_ns))
            .ok_or_else(invalid)?;
        rest = after;
    }
    let ns = i64::try_from(total_ns).map_err(|_| invalid())?;
    Ok(if is_negative { -ns } else { ns })
}

/// One number with its unit, such as `1.5h`.
struct Component<'a> {
    /// Digits before the decimal point; may be empty.
    whole: &'a str,
    /// Digits after the decimal point; may be empty.
    fraction: &'a str,
    unit_ns: u128,
}

impl<'a> Component<'a> {
    /// Splits the first component off `rest`; `text` is the entire duration, for error messages.
    fn split_off(text: &str, rest: &'a str) -> Result<(Self, &'a str), GoDurationError> {
        let (whole, rest) = split_digits(rest);
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => split_digits(rest),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(GoDurationError::Invalid(text.to_owned()));
        }
        let unit_end = rest
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit_end);
        if unit.is_empty() {
            return Err(GoDurationError::NoUnit(text.to_owned()));
        }
        let unit_ns = unit_ns(unit).ok_or_else(|| GoDurationError::UnknownUnit {
            unit: unit.to_owned(),
            text: text.to_owned(),
        })?;
        let component = Self {
            whole,
            fraction,
            unit_ns,
        };
        Ok((component, rest))
    }

    /// Returns the length in nanoseconds, truncated; `None` on overflow.
    fn ns(&self) -> Option<u128> {
        let whole: u128 = match self.whole {
            "" => 0,
            digits => digits.parse().ok()?,
        };
        // Digits after the 18th are far below a nanosecond in every unit.
        let fraction = &self.fraction[..self.fraction.len().min(18)];
        let numerator: u128 = fraction.parse().unwrap_or(0);
        let denominator = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        whole
            .checked_mul(self.unit_ns)?
            .checked_add(numerator * self.unit_ns / denominator)
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn unit_ns(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        // The sign has two code points: MICRO SIGN and GREEK SMALL LETTER MU.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => DAY_NS,
        "w" => 7 * DAY_NS,
        _ => return None,
    })
}

/// Length of a day in nanoseconds, without regard to time zones.
const DAY_NS: u128 = 24 * 3_600_000_000_000;

/// Reason why a duration was rejected. Displayed with a message of this library; see
/// [`to_go_text`](Self::to_go_text) for Go's message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GoDurationError {
    /// A number is missing, or the duration exceeds 2^63 - 1 ns.
    #[error("invalid duration {0:?}")]
    Invalid(String),
    /// A number has no unit.
    #[error("missing unit in duration {0:?}")]
    NoUnit(String),
    /// A number has an unknown unit.
    #[error("unknown unit {unit:?} in duration {text:?}; expected ns, us, ms, s, m, h, d, or w")]
    UnknownUnit {
        /// Unknown unit.
        unit: String,
        /// The entire duration.
        text: String,
    },
    /// The duration is less than zero.
    #[error("negative duration {0:?}")]
    Negative(String),
}

impl GoDurationError {
    /// Returns the message of Go's `time.ParseDuration` for this error.
    ///
    /// COMPAT: Skydive clients receive these messages from the step `At`.
    ///
    /// ```
    /// use skylib::go_duration;
    /// let error = go_duration::parse("abc").unwrap_err();
    /// assert_eq!(error.to_go_text(), "time: invalid duration \"abc\"");
    /// ```
    #[must_use]
    pub fn to_go_text(&self) -> String {
        match self {
            Self::UnknownUnit { unit, text } => {
                format!("time: unknown unit {unit:?} in duration {text:?}")
            }
            other => format!("time: {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_go_is_read() {
        for (text, ns) in [
            ("0", 0),
            ("-0", 0),
            ("+5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("250ms", 250_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("2us3µs4μs5ns", 9_005),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("1.123456789s", 1_123_456_789),
            ("0.1000000000000000000009s", 100_000_000),
            ("9223372036s", 9_223_372_036_000_000_000),
            ("-0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(ns)), "{text}");
        }
        assert_eq!(parse_signed_ns("-1h30m"), Ok(-5_400_000_000_000));
        assert_eq!(parse_signed_ns("+500ms"), Ok(500_000_000));
    }

    #[test]
    fn days_and_weeks_are_read() {
        let hours = |hours: i64| Ok(hours * 3_600_000_000_000);
        assert_eq!(parse_signed_ns("-2d"), hours(-48));
        assert_eq!(parse_signed_ns("1w1d12h"), hours(7 * 24 + 36));
        assert_eq!(parse_signed_ns("0.5d"), hours(12));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "s",
            ".s",
            "x",
            " 1s",
            "--1s",
            "9223372037s",
            "9999999h",
        ] {
            let error = GoDurationError::Invalid(text.to_owned());
            assert_eq!(parse(text), Err(error.clone()), "{text}");
            assert_eq!(parse_signed_ns(text), Err(error), "{text}");
        }
        let long = format!("{}h", "9".repeat(60));
        assert_eq!(parse(&long), Err(GoDurationError::Invalid(long.clone())));
        assert_eq!(parse("5"), Err(GoDurationError::NoUnit("5".into())));
        assert_eq!(parse("1h5"), Err(GoDurationError::NoUnit("1h5".into())));
        assert_eq!(
            parse("1.2.3s"),
            Err(GoDurationError::NoUnit("1.2.3s".into()))
        );
        assert_eq!(parse("-1s"), Err(GoDurationError::Negative("-1s".into())));
        for text in ["5y", "5S", "5 s", "1s ", "1s5ø"] {
            assert!(
                matches!(parse(text), Err(GoDurationError::UnknownUnit { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn errors_have_the_texts_of_go() {
        for (text, error) in [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("10", "time: missing unit in duration \"10\""),
            ("10x", "time: unknown unit \"x\" in duration \"10x\""),
            (".s", "time: invalid duration \".s\""),
            ("9999999h", "time: invalid duration \"9999999h\""),
        ] {
            assert_eq!(parse_signed_ns(text).unwrap_err().to_go_text(), error);
        }
    }
}
