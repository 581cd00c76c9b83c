//! Names in a folder of the history, and their meaning at a start. Performs no I/O.
//!
//! The folder is its own catalog: a name contains the generations of logs that a file replaces, so
//! a rename commits a segment, and a copy of the folder is a backup.

use std::fmt;

/// Number of a log, one higher with each new log.
pub(super) type Generation = u64;

/// Name of a log or of a folder of sealed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// Log of the newest records.
    Log(Generation),
    /// Segment that contains the records of a range of logs, first and last included.
    Segment(Generation, Generation),
    /// Snapshot of all elements at the end of a log.
    Snapshot(Generation),
}

impl Name {
    /// Parses a name; `None` for any other name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (kind, numbers) = name.split_once('-')?;
        let number = |text: &str| {
            let is_number = text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        };
        match kind {
            "log" => Some(Self::Log(number(numbers)?)),
            "snap" => Some(Self::Snapshot(number(numbers)?)),
            "seg" => {
                let (first, last) = numbers.split_once('-')?;
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Segment(first, last))
            }
            _ => None,
        }
    }

    /// Returns the newest generation in the name.
    pub(super) const fn last(self) -> Generation {
        match self {
            Self::Log(last) | Self::Segment(_, last) | Self::Snapshot(last) => last,
        }
    }

    /// Returns whether a segment contains everything that this log or other segment contains.
    pub(super) fn is_replaced_by(self, segment: Self) -> bool {
        let Self::Segment(first, last) = segment else {
            return false;
        };
        match self {
            Self::Log(log) => first <= log && log <= last,
            Self::Segment(a, b) => self != segment && first <= a && b <= last,
            Self::Snapshot(_) => false,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => write!(f, "log-{log:0DIGITS$}"),
            Self::Segment(first, last) => write!(f, "seg-{first:0DIGITS$}-{last:0DIGITS$}"),
            Self::Snapshot(last) => write!(f, "snap-{last:0DIGITS$}"),
        }
    }
}

/// Meaning of the names in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Catalog {
    /// Logs whose records are in no segment, oldest first.
    pub(super) logs: Vec<Generation>,
    /// Segments, oldest first.
    pub(super) segments: Vec<Name>,
    /// Snapshots, oldest first.
    pub(super) snapshots: Vec<Generation>,
    /// Logs and segments that a segment replaces: leftovers of a crash.
    pub(super) replaced: Vec<Name>,
}

impl Catalog {
    /// Sorts the names of a folder. Unknown names are ignored.
    pub(super) fn of(names: &[String]) -> Self {
        let mut names: Vec<Name> = names.iter().filter_map(|name| Name::parse(name)).collect();
        names.sort_unstable();
        let mut catalog = Self::default();
        for name in &names {
            if names.iter().any(|other| name.is_replaced_by(*other)) {
                catalog.replaced.push(*name);
                continue;
            }
            match name {
                Name::Log(log) => catalog.logs.push(*log),
                Name::Segment(..) => catalog.segments.push(*name),
                Name::Snapshot(last) => catalog.snapshots.push(*last),
            }
        }
        catalog.segments.sort_unstable_by_key(|name| name.last());
        catalog
    }

    /// Returns a generation that no name has used.
    pub(super) fn next(&self) -> Generation {
        let segments = self.segments.iter().chain(&self.replaced);
        let used = segments.map(|name| name.last());
        let used = used.chain(self.logs.iter().chain(&self.snapshots).copied());
        used.max().map_or(1, |last| last + 1)
    }
}

/// Digits of a generation in a name.
const DIGITS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_strictly() {
        for name in [
            Name::Log(7),
            Name::Segment(1, 12),
            Name::Snapshot(9_999_999_999),
        ] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        assert_eq!(
            Name::Segment(1, 12).to_string(),
            "seg-0000000001-0000000012"
        );
        for name in [
            "log-1",
            "log-+000000001",
            "seg-0000000002-0000000001",
            "seg-0000000001",
            "log-0000000001.tmp",
            "LOCK",
            "",
        ] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }

    #[test]
    fn what_a_segment_contains_is_replaced() {
        let names = [
            Name::Segment(1, 1),
            Name::Segment(2, 3),
            Name::Segment(1, 3),
            Name::Log(3),
            Name::Log(4),
            Name::Log(5),
            Name::Snapshot(3),
        ];
        let names = names.map(|name| name.to_string());
        let catalog = Catalog::of(&names);
        assert_eq!(catalog.logs, [4, 5]);
        assert_eq!(catalog.segments, [Name::Segment(1, 3)]);
        assert_eq!(catalog.snapshots, [3]);
        let replaced = [Name::Log(3), Name::Segment(1, 1), Name::Segment(2, 3)];
        assert_eq!(catalog.replaced, replaced);
        assert_eq!(catalog.next(), 6);
        assert_eq!(Catalog::of(&[]).next(), 1);
    }
}
