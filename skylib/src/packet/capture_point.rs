//! `CapturePoint` and `CapturePoints`: the interfaces on which the packets of a source were
//! captured.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::PacketHeader;
use crate::value::Text;

/// Capture point of a packet, by its index in the [`CapturePoints`] of the source.
///
/// ```
/// use skylib::packet::CapturePoint;
/// assert_eq!(CapturePoint::default(), CapturePoint::ONLY);
/// assert_eq!(CapturePoint::new(2).index(), 2);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CapturePoint(
    /// Index + 1; 0 for [`CapturePoint::ONLY`].
    u32,
);

impl CapturePoint {
    /// The only capture point that was known when the packet was read; its index is 0.
    pub const ONLY: Self = Self(0);

    /// Returns the capture point with an index.
    #[must_use]
    pub const fn new(index: u32) -> Self {
        Self(index.saturating_add(1))
    }

    /// Returns the index.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0.saturating_sub(1)
    }

    /// Returns whether this is [`ONLY`](Self::ONLY).
    #[must_use]
    pub const fn is_only(self) -> bool {
        self.0 == 0
    }
}

/// Identity of a capture point, by which an interface is recognized in several sections and files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CapturePointName {
    /// Name of the interface.
    Name(Text),
    /// Number of an interface without a name in its section; 0 for a file without interface
    /// descriptions.
    Number(u32),
}

impl fmt::Display for CapturePointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Capture point with its counters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapturePointStats {
    /// Identity of the capture point.
    pub name: CapturePointName,
    /// Number of packets read, including packets rejected by a filter.
    pub packets: u64,
    /// Number of packets lost while the file was written, according to the file.
    pub dropped: u64,
}

/// List of the capture points of one source, in the order in which they were found. Clones share
/// the list, so that the readers of several files use the same indices.
///
/// ```
/// use skylib::packet::{CapturePointName, CapturePoints};
/// let points = CapturePoints::default();
/// for name in ["eth0", "eth1", "eth0"] {
///     points.register(CapturePointName::Name(name.into()));
/// }
/// let names: Vec<_> = points.stats().iter().map(|point| point.name.to_string()).collect();
/// assert_eq!(names, ["eth0", "eth1"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct CapturePoints(Arc<Mutex<Points>>);

/// Invariant: the keys of `indices` are the names in `list`.
#[derive(Debug, Default)]
struct Points {
    list: Vec<CapturePointStats>,
    indices: HashMap<CapturePointName, u32>,
}

impl CapturePoints {
    /// Maximum number of capture points, which bounds memory.
    pub const MAX: usize = 1 << 16;

    /// Returns the index of a capture point, which is added if it is new; `None` if it is new and
    /// the list has [`MAX`](Self::MAX) capture points.
    pub fn register(&self, name: CapturePointName) -> Option<u32> {
        let mut points = self.lock();
        if let Some(index) = points.indices.get(&name) {
            return Some(*index);
        }
        if points.list.len() >= Self::MAX {
            return None;
        }
        let index = u32::try_from(points.list.len()).ok()?;
        points.indices.insert(name.clone(), index);
        points.list.push(CapturePointStats {
            name,
            packets: 0,
            dropped: 0,
        });
        Some(index)
    }

    /// Returns the number of capture points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().list.len()
    }

    /// Returns whether there is no capture point.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the identity of the capture point with an index; `None` if there is none.
    #[must_use]
    pub fn name(&self, index: u32) -> Option<CapturePointName> {
        let points = self.lock();
        let point = points.list.get(index as usize);
        point.map(|point| point.name.clone())
    }

    /// Returns the index of the capture point with a name, or with a number if it has no name;
    /// `None` if there is none.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<u32> {
        let points = self.lock();
        let named = points.indices.get(&CapturePointName::Name(name.into()));
        let numbered = || {
            let number = name.parse().ok()?;
            points.indices.get(&CapturePointName::Number(number))
        };
        named.or_else(numbered).copied()
    }

    /// Returns all capture points with their counters.
    #[must_use]
    pub fn stats(&self) -> Vec<CapturePointStats> {
        self.lock().list.clone()
    }

    /// Counts packets that were read, by capture point.
    pub(crate) fn count(&self, headers: &[PacketHeader]) {
        let mut points = self.lock();
        for header in headers {
            if let Some(point) = points.list.get_mut(header.point.index() as usize) {
                point.packets += 1;
            }
        }
    }

    /// Counts packets of one capture point that were read.
    pub(crate) fn count_all(&self, index: u32, packets: u64) {
        if let Some(point) = self.lock().list.get_mut(index as usize) {
            point.packets += packets;
        }
    }

    /// Counts packets of a capture point that were lost.
    pub(crate) fn count_dropped(&self, index: u32, packets: u64) {
        if let Some(point) = self.lock().list.get_mut(index as usize) {
            point.dropped = point.dropped.saturating_add(packets);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Points> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_different_points() {
        let points = CapturePoints::default();
        let name = |text: &str| CapturePointName::Name(text.into());
        assert_eq!(points.register(CapturePointName::Number(1)), Some(0));
        assert_eq!(points.find("1"), Some(0));
        assert_eq!(points.register(name("1")), Some(1));
        assert_eq!(points.clone().register(name("1")), Some(1));
        assert_eq!((points.find("1"), points.find("eth0")), (Some(1), None));
        assert_eq!((points.len(), points.name(2)), (2, None));
    }

    #[test]
    fn the_number_of_points_is_bounded() {
        let points = CapturePoints::default();
        for number in 0..CapturePoints::MAX {
            let name = CapturePointName::Number(number as u32);
            assert_eq!(points.register(name), Some(number as u32));
        }
        assert_eq!(points.register(CapturePointName::Name("x".into())), None);
        assert_eq!(points.register(CapturePointName::Number(7)), Some(7));
    }
}
