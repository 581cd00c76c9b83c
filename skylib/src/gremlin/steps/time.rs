//! `At(instant[, duration])`: selects the time that a query reads.

use jiff::civil::{self, DateTime};
use jiff::tz::TimeZone;

use crate::go_duration;
use crate::gremlin::ast::Param;
use crate::time::{TimeSlice, Timestamp, When};

/// Parameters of `At`, parsed but not yet resolved against the current time.
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
    /// Date and time in the time zone of the query.
    Local(DateTime),
    /// Latest occurrence of a time of day in the time zone of the query.
    TimeOfDay(civil::Time),
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
    /// Returns Skydive's message for parameters that are not times.
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

    /// Resolves the time against `now`; `zone` is the time zone of dates and times of day that name
    /// none. Returns an instant if no duration was given.
    pub(in crate::gremlin) fn resolve(self, now: Timestamp, zone: &TimeZone) -> When {
        let last = match self.instant {
            Instant::Absolute(instant) => instant,
            Instant::FromNow(ns) => Timestamp::from_ns(now.as_ns().saturating_add(ns)),
            Instant::Local(date_time) => in_zone(date_time, zone),
            Instant::TimeOfDay(time) => most_recent(time, now, zone),
        };
        let start = match self.back {
            None => return When::At(last),
            Some(LookBack::Forever) => Timestamp::ZERO,
            Some(LookBack::By(ns)) => Timestamp::from_ns(last.as_ns().saturating_sub(ns)),
        };
        When::During(TimeSlice { start, last })
    }

    /// Returns a warning if a sign is probably wrong: the time is in the future, or the length of
    /// the time slice is negative.
    ///
    /// COMPAT: Skydive accepts both.
    pub(in crate::gremlin) const fn warning(self) -> Option<&'static str> {
        match (self.instant, self.back) {
            (Instant::FromNow(1..), _) => Some(
                "the time of the query is in the future, which is answered with the present; \
                 a duration before now begins with \"-\", as in '-1h'",
            ),
            (_, Some(LookBack::By(..0))) => Some(
                "the length of the time slice of the query is negative; the slice ends at the \
                 time, and its length has no sign, as in At(NOW, '1h')",
            ),
            _ => None,
        }
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
            // COMPAT: Skydive rejects the quoted keyword, and clients rely on it for `'NOW'`.
            Param::Text(text) if text == "now" => Ok(Instant::FromNow(0)),
            Param::Text(text) => Instant::parse(text).ok_or_else(|| NO_INSTANT.to_owned()),
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

/// Parses a string in any notation of the step `At`, relative to `now` and in a time zone; returns
/// `None` if the string is not a time. Whole numbers are Unix times: up to 2147483647 in seconds,
/// above in milliseconds.
///
/// ```
/// use jiff::tz::TimeZone;
/// use skylib::gremlin::parse_time;
/// use skylib::time::Timestamp;
///
/// let now = Timestamp::from_ms(100_000);
/// let parse = |text| parse_time(text, now, &TimeZone::UTC).map(Timestamp::as_ms);
/// assert_eq!(parse("-30s"), Some(70_000));
/// assert_eq!(parse("1970-01-01 00:01"), Some(60_000));
/// assert_eq!(parse("90"), Some(90_000));
/// assert_eq!(parse("yesterday"), None);
/// ```
#[must_use]
pub fn parse_time(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let param = match text.parse() {
        Ok(number) => Param::Int(number),
        Err(_) => Param::Text(text.into()),
    };
    let instant = TimeContext::instant(&param).ok()?;
    let time = TimeContext {
        instant,
        back: None,
    };
    Some(time.resolve(now, zone).slice().last)
}

impl Instant {
    /// Parses a time as Skydive accepts it (RFC 1123, duration), `10m ago`, ISO 8601 with or
    /// without a time zone, or a time of day; `None` for anything else.
    fn parse(text: &str) -> Option<Self> {
        if let Some(instant) = parse_rfc1123(text) {
            return Some(Self::Absolute(instant));
        }
        if let Ok(ns) = go_duration::parse_signed_ns(text) {
            return Some(Self::FromNow(ns));
        }
        if let Some(duration) = text.strip_suffix(" ago") {
            let ns = go_duration::parse_signed_ns(duration).ok()?;
            // The sign of `-10m ago` would be ambiguous.
            let is_signed = duration.starts_with(['-', '+']);
            return Some(Self::FromNow(ns.checked_neg()?)).filter(|_| !is_signed);
        }
        // The short forms of ISO 8601 without separators could also be numbers.
        match text.as_bytes() {
            [b'0'..=b'9', b'0'..=b'9', b':', ..] => text.parse().map(Self::TimeOfDay).ok(),
            [_, _, _, _, b'-', _, _, b'-', ..] => Self::parse_iso(text),
            _ => None,
        }
    }

    /// Parses a date, or a date and time with or without an offset from UTC, in ISO 8601.
    fn parse_iso(text: &str) -> Option<Self> {
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            let ns = i64::try_from(instant.as_nanosecond()).ok()?;
            return Some(Self::Absolute(Timestamp::from_ns(ns)));
        }
        text.parse().map(Self::Local).ok()
    }
}

/// Returns the instant of a date and time in a time zone. A time that the zone skips is moved
/// forward; for a time that it repeats, the first occurrence is used.
fn in_zone(date_time: DateTime, zone: &TimeZone) -> Timestamp {
    let ns = zone
        .to_timestamp(date_time)
        .map_or(i128::MAX, |instant| instant.as_nanosecond());
    Timestamp::from_ns(i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX }))
}

/// Returns the latest instant that is not after `now` and has this time of day in the time zone.
fn most_recent(time: civil::Time, now: Timestamp, zone: &TimeZone) -> Timestamp {
    let Ok(today) = jiff::Timestamp::from_nanosecond(i128::from(now.as_ns())) else {
        return now;
    };
    let today = zone.to_datetime(today).date();
    let instant = in_zone(today.to_datetime(time), zone);
    match today.yesterday() {
        Ok(yesterday) if instant > now => in_zone(yesterday.to_datetime(time), zone),
        _ => instant,
    }
}

/// COMPAT: Skydive's message; the help below it gives examples.
const NO_INSTANT: &str = "Time must be in RFC1123 or in Go Duration format";

/// Forms of a time, for the help of an error.
pub(in crate::gremlin) const EXAMPLES: &str = "'-10m', '-2d', '14:05', or '2026-11-29 14:05'";

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
        let slice = TimeContext::new(params)?
            .resolve(now, &TimeZone::UTC)
            .slice();
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
            "1405",
            "14:60",
            "24:00",
            "20231114",
            "2023-13-14",
            "2023-11-14 25:00",
            "ago",
            " ago",
            "ten minutes ago",
            "-10m ago",
            "+10m ago",
        ] {
            assert_eq!(point(text(bad)), Err(NO_INSTANT.to_owned()), "{bad}");
        }
        assert_eq!(point(Param::Forever), Err(NO_TIME.to_owned()));
    }

    /// The current time of these tests is 2023-11-14 22:13:20 UTC.
    #[test]
    fn people_write_times_of_day_dates_and_ages() {
        let minute = 60_000;
        let now = 1_700_000_000_000;
        let midnight = 1_699_920_000_000;
        for (written, ms) in [
            ("10m ago", now - 10 * minute),
            ("1h30m ago", now - 90 * minute),
            ("-2d", now - 2 * 1440 * minute),
            ("1w ago", now - 7 * 1440 * minute),
            ("22:13", now - 20_000),
            ("22:13:20", now),
            ("22:13:21", now + 1000 - 24 * 60 * minute),
            ("23:00", midnight - 60 * minute),
            ("00:00", midnight),
            ("2023-11-14", midnight),
            ("2023-11-14 14:05", midnight + 845 * minute),
            ("2023-11-14T14:05", midnight + 845 * minute),
            ("2023-11-14T14:05:00.250", midnight + 845 * minute + 250),
            ("2023-11-14T14:05:00Z", midnight + 845 * minute),
            ("2023-11-14 14:05:00Z", midnight + 845 * minute),
            ("2023-11-14T14:05:00+01:00", midnight + 785 * minute),
        ] {
            assert_eq!(at(&[text(written)]), Ok((ms, ms)), "{written}");
        }
    }

    #[test]
    fn times_without_a_zone_are_in_that_of_the_query() {
        let now = Timestamp::from_ms(1_700_000_000_000);
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let resolve = |written: &str| {
            let time = TimeContext::new(&[text(written)]).unwrap();
            time.resolve(now, &zone).slice().last.as_ms()
        };
        let hour = 3_600_000;
        let utc = 1_699_920_000_000;
        assert_eq!(resolve("2023-11-14 14:00"), utc + 12 * hour);
        assert_eq!(resolve("2023-11-14 14:00Z"), utc + 14 * hour);
        // There it is 00:13 on the next day.
        assert_eq!(resolve("00:10"), utc + 22 * hour + 600_000);
        assert_eq!(resolve("00:20"), utc - 2 * hour + 1_200_000);
    }

    #[test]
    fn a_duration_makes_a_slice() {
        let now = 1_700_000_000_000;
        assert_eq!(at(&[Param::Now, Param::Int(0)]), Ok((now, now)));
        assert_eq!(at(&[Param::Now, Param::Int(30)]), Ok((now - 30_000, now)));
        assert_eq!(at(&[Param::Now, text("1m30s")]), Ok((now - 90_000, now)));
        assert_eq!(at(&[Param::Now, text("1d")]), Ok((now - 86_400_000, now)));
        assert_eq!(at(&[Param::Now, Param::Forever]), Ok((0, now)));
        let error = at(&[Param::Forever, text("abc")]).unwrap_err();
        assert_eq!(
            error, "time: invalid duration \"abc\"",
            "the second parameter comes first"
        );
    }
}
