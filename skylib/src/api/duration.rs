//! Durations as the header `X-Resource-TTL` writes them: `5s`, `1m30s`, `250ms`, `1.5h`.

use std::time::Duration;

/// Reads a duration: decimal numbers, each with a unit of `ns us µs ms s m h`; a bare `0` is zero.
///
/// ```
/// use std::time::Duration;
/// use skylib::api::duration;
/// assert_eq!(duration::parse("1m30s")?, Duration::from_secs(90));
/// assert_eq!(duration::parse("-0.5ms"), Err(duration::DurationError::Negative("-0.5ms".into())));
/// # Ok::<(), duration::DurationError>(())
/// ```
///
/// # Errors
/// When the text is anything else, negative, or longer than 292 years (63 bits of nanoseconds).
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total_ns: u128 = 0;
    while !rest.is_empty() {
        let whole = digits(&mut rest);
        let fraction = if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            digits(&mut rest)
        } else {
            ""
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = rest
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (unit, after) = rest.split_at(end);
        if unit.is_empty() {
            return Err(DurationError::NoUnit(text.to_owned()));
        }
        let unit_ns = unit_ns(unit).ok_or_else(|| DurationError::UnknownUnit {
            unit: unit.to_owned(),
            text: text.to_owned(),
        })?;
        rest = after;
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| invalid())?
        };
        // Digits beyond the eighteenth are far below a nanosecond.
        let fraction = &fraction[..fraction.len().min(18)];
        let parts: u128 = fraction.parse().unwrap_or(0);
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        total_ns = whole
            .checked_mul(unit_ns)
            .and_then(|ns| ns.checked_add(parts * unit_ns / scale))
            .and_then(|ns| ns.checked_add(total_ns))
            .ok_or_else(invalid)?;
    }
    let total_ns = i64::try_from(total_ns).map_err(|_| invalid())?;
    match u64::try_from(total_ns) {
        Ok(_) if negative && total_ns > 0 => Err(DurationError::Negative(text.to_owned())),
        Ok(ns) => Ok(Duration::from_nanos(ns)),
        Err(_) => Err(invalid()),
    }
}

fn digits<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    *rest = after;
    digits
}

fn unit_ns(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        // Both code points of the sign: micro and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Why a duration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// No number where one must stand, or too large.
    #[error("invalid duration {0:?}")]
    Invalid(String),
    /// A number without a unit.
    #[error("missing unit in duration {0:?}")]
    NoUnit(String),
    /// A unit that is none of the seven.
    #[error("unknown unit {unit:?} in duration {text:?}, one of ns us ms s m h expected")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Less than zero.
    #[error("negative duration {0:?}")]
    Negative(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_the_original_is_read() {
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
            ("0.1000000000000000000009s", 100_000_000),
            ("9223372036s", 9_223_372_036_000_000_000),
            ("-0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(ns)), "{text}");
        }
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
        ] {
            assert_eq!(
                parse(text),
                Err(DurationError::Invalid(text.to_owned())),
                "{text}"
            );
        }
        let long = format!("{}h", "9".repeat(60));
        assert_eq!(parse(&long), Err(DurationError::Invalid(long.clone())));
        assert_eq!(parse("5"), Err(DurationError::NoUnit("5".into())));
        assert_eq!(parse("1h5"), Err(DurationError::NoUnit("1h5".into())));
        assert_eq!(parse("-1s"), Err(DurationError::Negative("-1s".into())));
        for text in ["5d", "5S", "5 s", "1s ", "1s5ø"] {
            assert!(
                matches!(parse(text), Err(DurationError::UnknownUnit { .. })),
                "{text}"
            );
        }
    }
}
