//! `At(instant[, duration])`: which time a query looks at.

use crate::gremlin::ast::Param;
use crate::time::{TimeSlice, Timestamp, When};

/// The time asked for, not yet tied to a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gremlin) struct TimeContext {
    instant: Instant,
    back: Option<Back>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instant {
    At(Timestamp),
    /// Nanoseconds from now, negative in the past.
    FromNow(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    /// Nanoseconds before the instant.
    By(i64),
    Forever,
}

impl TimeContext {
    /// Reads the parameters; the second one first.
    ///
    /// # Errors
    /// What clients are told.
    pub(in crate::gremlin) fn new(params: &[Param]) -> Result<Self, String> {
        let (instant, back) = match params {
            [] => return Err("At least one parameter must be provided to 'Context'".to_owned()),
            [instant] => (instant, None),
            [instant, back] => (instant, Some(Self::back(back)?)),
            _ => return Err("At most two parameters must be provided to 'Context'".to_owned()),
        };
        Ok(Self {
            instant: Self::instant(instant)?,
            back,
        })
    }

    /// The time asked for, seen from now; without a duration one instant.
    pub(in crate::gremlin) fn resolve(self, now: Timestamp) -> When {
        let last = match self.instant {
            Instant::At(instant) => instant,
            Instant::FromNow(ns) => Timestamp::from_ns(now.as_ns().saturating_add(ns)),
        };
        let start = match self.back {
            None => return When::At(last),
            Some(Back::Forever) => Timestamp::ZERO,
            Some(Back::By(ns)) => Timestamp::from_ns(last.as_ns().saturating_sub(ns)),
        };
        When::During(TimeSlice { start, last })
    }

    fn instant(param: &Param) -> Result<Instant, String> {
        match param {
            // COMPAT: larger numbers are milliseconds.
            Param::Int(number) if *number > i64::from(i32::MAX) => {
                Ok(Instant::At(Timestamp::from_ms(*number)))
            }
            Param::Int(number) => Ok(Instant::At(Timestamp::from_ms(number.saturating_mul(1000)))),
            Param::Now => Ok(Instant::FromNow(0)),
            Param::Text(text) => match (parse_rfc1123(text), parse_duration(text)) {
                (Some(instant), _) => Ok(Instant::At(instant)),
                (None, Ok(ns)) => Ok(Instant::FromNow(ns)),
                (None, Err(_)) => {
                    Err("Time must be in RFC1123 or in Go Duration format".to_owned())
                }
            },
            _ => Err(NO_TIME.to_owned()),
        }
    }

    fn back(param: &Param) -> Result<Back, String> {
        match param {
            Param::Int(seconds) => Ok(Back::By(seconds.saturating_mul(1_000_000_000))),
            Param::Text(text) => parse_duration(text).map(Back::By),
            Param::Forever => Ok(Back::Forever),
            _ => Err(NO_TIME.to_owned()),
        }
    }
}

const NO_TIME: &str = "Key 'Context' must be either an integer or a string";

/// Reads a Go duration (`-1h30m`, `1.5s`, `0`) as nanoseconds.
fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let number_len = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let scale: i64 = match unit {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3600 * 1_000_000_000,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        let whole = if whole.is_empty() {
            Some(0)
        } else {
            whole.parse::<i64>().ok()
        };
        let part = whole
            .and_then(|whole| whole.checked_mul(scale))
            .and_then(|ns| ns.checked_add(fraction_of(fraction, scale)))
            .and_then(|ns| total.checked_add(ns));
        total = part.ok_or_else(invalid)?;
        rest = tail;
    }
    Ok(if negative { -total } else { total })
}

/// The digits behind the dot, of a unit of so many nanoseconds.
fn fraction_of(digits: &str, scale: i64) -> i64 {
    let mut ns = 0;
    let mut place = scale;
    for digit in digits.bytes().take(18) {
        // A unit is at most 3.6e12 ns, so the product stays small.
        ns += i64::from(digit - b'0') * place / 10;
        place /= 10;
    }
    ns
}

/// Reads `Tue, 14 Nov 2023 22:13:22 GMT`; COMPAT: an unknown zone name counts as UTC.
fn parse_rfc1123(text: &str) -> Option<Timestamp> {
    let mut words = text.split(' ');
    let weekday = words.next()?.strip_suffix(',')?;
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (clock, zone) = (words.next()?, words.next()?);
    if words.next().is_some() || !WEEKDAYS.iter().any(|d| d.eq_ignore_ascii_case(weekday)) {
        return None;
    }
    let zone_letters = zone.bytes().take_while(u8::is_ascii_uppercase).count();
    if zone_letters != zone.len() || !(3..=5).contains(&zone.len()) {
        return None;
    }
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(month))?;
    let (day, year) = (digits(day, 2)?, digits(year, 4)?);
    let mut clock = clock.split(':');
    let (hour, minute) = (digits(clock.next()?, 2)?, digits(clock.next()?, 2)?);
    let second = digits(clock.next()?, 2)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = if month == 1 && leap {
        29
    } else {
        *MONTH_DAYS.get(month)?
    };
    if clock.next().is_some()
        || !(1..=month_days).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let before: i64 = MONTH_DAYS.iter().take(month).sum::<i64>() + i64::from(month > 1 && leap);
    let years = year - 1;
    let leaps = years / 4 - years / 100 + years / 400;
    let days = years * 365 + leaps + before + day - 1 - DAYS_BEFORE_1970;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(Timestamp::from_ms(seconds.saturating_mul(1000)))
}

fn digits(text: &str, len: usize) -> Option<i64> {
    let all_digits = text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| text.parse().ok())?
}

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const MONTH_DAYS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
/// From 1 January of the year 1.
const DAYS_BEFORE_1970: i64 = 719_162;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(params: &[Param]) -> Result<(i64, i64), String> {
        let now = Timestamp::from_ms(1_700_000_000_000);
        let slice = TimeContext::new(params)?.resolve(now).slice();
        Ok((slice.start.as_ms(), slice.last.as_ms()))
    }

    fn text(text: &str) -> Param {
        Param::Text(text.into())
    }

    #[test]
    fn instants_come_as_numbers_dates_and_durations() {
        let point = |param: Param| {
            at(&[param]).map(|(start, last)| {
                assert_eq!(start, last);
                last
            })
        };
        assert_eq!(point(Param::Int(1_600_000_000)), Ok(1_600_000_000_000));
        assert_eq!(point(Param::Int(1_600_000_000_000)), Ok(1_600_000_000_000));
        assert_eq!(point(Param::Now), Ok(1_700_000_000_000));
        assert_eq!(point(text("-1m")), Ok(1_699_999_940_000));
        assert_eq!(
            point(text("Tue, 14 Nov 2023 22:13:22 GMT")),
            Ok(1_700_000_002_000)
        );
        assert_eq!(
            point(text("Tue, 14 Nov 2023 22:13:22 XYZ")),
            Ok(1_700_000_002_000)
        );
        assert_eq!(
            point(text("Thu, 29 Feb 2024 00:00:00 UTC")),
            Ok(1_709_164_800_000)
        );
        assert_eq!(point(text("Thu, 01 Jan 1970 00:00:00 UTC")), Ok(0));
        let wrong = "Time must be in RFC1123 or in Go Duration format";
        for bad in [
            "NOW",
            "yesterday",
            "Wed, 29 Feb 2023 00:00:00 UTC",
            "",
            "10",
        ] {
            assert_eq!(point(text(bad)), Err(wrong.to_owned()), "{bad}");
        }
        assert_eq!(point(Param::Forever), Err(NO_TIME.to_owned()));
    }

    #[test]
    fn a_duration_makes_a_slice() {
        let now = 1_700_000_000_000;
        assert_eq!(at(&[Param::Now, Param::Int(0)]), Ok((now, now)));
        assert_eq!(at(&[Param::Now, Param::Int(30)]), Ok((now - 30_000, now)));
        assert_eq!(at(&[Param::Now, text("1m30s")]), Ok((now - 90_000, now)));
        assert_eq!(at(&[Param::Now, Param::Forever]), Ok((0, now)));
        let error = at(&[Param::Forever, text("abc")]).unwrap_err();
        assert_eq!(
            error, "time: invalid duration \"abc\"",
            "the second parameter comes first"
        );
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, ns) in [
            ("0", 0),
            ("-1h30m", -5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("+500ms", 500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1µs2ns", 1002),
            ("1.123456789s", 1_123_456_789),
        ] {
            assert_eq!(parse_duration(text), Ok(ns), "{text}");
        }
        for (text, error) in [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("10", "time: missing unit in duration \"10\""),
            ("10x", "time: unknown unit \"x\" in duration \"10x\""),
            (".s", "time: invalid duration \".s\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("9999999h", "time: invalid duration \"9999999h\""),
        ] {
            assert_eq!(parse_duration(text), Err(error.to_owned()), "{text}");
        }
    }
}
