//! The time of day where this machine stands.

use std::mem::MaybeUninit;

/// Date and time in the machine's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalTime {
    /// Year of the Gregorian calendar.
    pub(crate) year: i32,
    /// Month, from 1.
    pub(crate) month: i32,
    /// Day of the month, from 1.
    pub(crate) day: i32,
    /// Hour, from 0.
    pub(crate) hour: i32,
    /// Minute, from 0.
    pub(crate) minute: i32,
    /// Second, from 0; 60 in a leap second.
    pub(crate) second: i32,
}

impl LocalTime {
    /// What clocks here show so many seconds after the Unix epoch; none for a year that does not
    /// fit.
    ///
    /// ```
    /// use skylib::sys::local_time::LocalTime;
    /// let a = LocalTime::of(1_700_000_000).ok_or("a time")?;
    /// let b = LocalTime::of(1_700_000_060).ok_or("a time")?;
    /// assert_eq!((a.minute + 1) % 60, b.minute);
    /// # Ok::<(), &'static str>(())
    /// ```
    #[must_use]
    pub(crate) fn of(unix_seconds: i64) -> Option<Self> {
        let seconds = libc::time_t::try_from(unix_seconds).ok()?;
        let mut time = MaybeUninit::<libc::tm>::uninit();
        #[expect(unsafe_code, reason = "the C library knows the time zone")]
        // SAFETY: both pointers are valid for the call, which keeps neither; it fills all of the
        // result unless it returns a null pointer.
        let time = unsafe {
            if libc::localtime_r(&raw const seconds, time.as_mut_ptr()).is_null() {
                return None;
            }
            time.assume_init()
        };
        Some(Self {
            year: time.tm_year.checked_add(1900)?,
            month: time.tm_mon + 1,
            day: time.tm_mday,
            hour: time.tm_hour,
            minute: time.tm_min,
            second: time.tm_sec,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_the_same_time_a_day_later_unless_clocks_are_set() {
        let time = LocalTime::of(1_705_320_000).unwrap();
        assert_eq!((time.year, time.month, time.second), (2024, 1, 0));
        assert!((14..=16).contains(&time.day));
        let later = LocalTime::of(1_705_320_000 + 86_400).unwrap();
        assert_eq!((later.hour, later.minute), (time.hour, time.minute));
        assert_eq!(LocalTime::of(i64::MAX), None);
    }
}
