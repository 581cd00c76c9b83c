//! `At(instant[, duration])`: selects the time that a query looks at.

use jiff::civil::DateTime;

use crate::go_duration;
use crate::gremlin::ast::Param;
use crate::time::{TimeSlice, Timestamp, When};

/// The parameters of `At`, parsed but not yet resolved against the current time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gremlin) struct TimeContext {
    instant: Instant,
    back: Option<LookBack>,
}

/// End of the requested time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instant {
    Absolute(Timestamp),
    /// Nanoseconds from now; negative in the past.
    FromNow(i64),
}

/// Length of the requested time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookBack {
    /// Nanoseconds before the instant.
    By(i64),
    /// Back to 1970.
    Forever,
}

impl TimeContext {
    /// Parses the parameters.
    ///
    /// COMPAT: the second parameter is parsed first, so its error takes precedence.
    ///
    /// # Errors
    /// Returns the original's text for parameters that are not times.
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

    /// Resolves the time against `now`. Returns an instant if no duration was given.
    pub(in crate::gremlin) fn resolve(self, now: Timestamp) -> When {
        let last = match self.instant {
            Instant::Absolute(instant) => instant,
            Instant::FromNow(ns) => Timestamp::from_ns(now.as_ns().saturating_add(ns)),
        };
        let start = match self.back {
            None => return When::At(last),
            Some(LookBack::Forever) => Timestamp::ZERO,
            Some(LookBack::By(ns)) => Timestamp::from_ns(last.as_ns().saturating_sub(ns)),
        };
        When::During(TimeSlice { start, last })
    }

    fn instant(param: &Param) -> Result<Instant, String> {
        match param {
            // COMPAT: integers above 2147483647 are milliseconds, others are seconds.
            Param::Int(number) if *number > i64::from(i32::MAX) => {
                Ok(Instant::Absolute(Timestamp::from_ms(*number)))
            }
            Param::Int(number) => Ok(Instant::Absolute(Timestamp::from_ms(
                number.saturating_mul(1000),
            ))),
            Param::Now => Ok(Instant::FromNow(0)),
            // COMPAT: the original refuses the quoted keyword, and clients rely on it for `'NOW'`.
            Param::Text(text) if text == "now" => Ok(Instant::FromNow(0)),
            Param::Text(text) => parse_rfc1123(text)
                .map(Instant::Absolute)
                .or_else(|| {
                    go_duration::parse_signed_ns(text)
                        .ok()
                        .map(Instant::FromNow)
                })
                .ok_or_else(|| "Time must be in RFC1123 or in Go Duration format".to_owned()),
            _ => Err(NO_TIME.to_owned()),
        }
    }

    fn back(param: &Param) -> Result<LookBack, String> {
        match param {
            Param::Int(seconds) => Ok(LookBack::By(seconds.saturating_mul(1_000_000_000))),
            Param::Text(text) => match go_duration::parse_signed_ns(text) {
                Ok(ns) => Ok(LookBack::By(ns)),
                Err(error) => Err(error.to_go_text()),
            },
            Param::Forever => Ok(LookBack::Forever),
            _ => Err(NO_TIME.to_owned()),
        }
    }
}

const NO_TIME: &str = "Key 'Context' must be either an integer or a string";

/// Parses `Tue, 14 Nov 2023 22:13:22 GMT` as Go's layout RFC 1123 does: two-digit fields, and a
/// weekday that need not match the date.
///
/// COMPAT: any zone name of three to five capital letters counts as UTC.
fn parse_rfc1123(text: &str) -> Option<Timestamp> {
    let mut words = text.split(' ');
    let weekday = words.next()?.strip_suffix(',')?;
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (clock, zone) = (words.next()?, words.next()?);
    if words.next().is_some() || !WEEKDAYS.iter().any(|d| d.eq_ignore_ascii_case(weekday)) {
        return None;
    }
    if !(3..=5).contains(&zone.len()) || !zone.bytes().all(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(month))?;
    let mut clock = clock.split(':');
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
    if clock.next().is_some() {
        return None;
    }
    let two_digits = |text: &str| i8::try_from(digits(text, 2)?).ok();
    let date_time = DateTime::new(
        digits(year, 4)?,
        i8::try_from(month + 1).ok()?,
        two_digits(day)?,
        two_digits(hour)?,
        two_digits(minute)?,
        two_digits(second)?,
        0,
    )
    .ok()?;
    let seconds = date_time.duration_since(EPOCH).as_secs();
    Some(Timestamp::from_ms(seconds.saturating_mul(1000)))
}

fn digits(text: &str, len: usize) -> Option<i16> {
    let is_number = text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

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
        assert_eq!(point(text("now")), Ok(1_700_000_000_000));
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
        assert_eq!(
            point(text("mon, 14 nov 2023 22:13:22 GMT")),
            Ok(1_700_000_002_000),
            "the weekday need not be that of the date"
        );
        let last = i64::MAX / 1_000_000;
        assert_eq!(point(text("Fri, 31 Dec 9999 23:59:59 UTC")), Ok(last));
        let wrong = "Time must be in RFC1123 or in Go Duration format";
        for bad in [
            "NOW",
            "yesterday",
            "Wed, 29 Feb 2023 00:00:00 UTC",
            "Tue, 14 Nov 2023 22:13:60 GMT",
            "Tue, 14 Nov 2023 24:13:22 GMT",
            "Tue, 14 Nov 2023 2:13:22 GMT",
            "Tue, 14 Nov 2023 22:13:22 gmt",
            "Tue, 00 Nov 2023 22:13:22 GMT",
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
}
