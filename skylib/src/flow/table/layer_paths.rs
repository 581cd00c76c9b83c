//! Interning of layer paths: an entry stores a 16-bit number instead of a path.

use hashbrown::HashMap;

use crate::decode::LayersPath;
use crate::value::Text;

/// Interned layer paths of a table. `numbers` and `paths` have the same length, at most [`LIMIT`].
#[derive(Debug, Default)]
pub(super) struct LayerPaths {
    /// Number of each path.
    numbers: HashMap<LayersPath, u16>,
    /// Derived values by path number.
    paths: Vec<PathInfo>,
}

/// Values derived from a layer path.
#[derive(Clone, Debug)]
pub(super) struct PathInfo {
    /// String in flow records, such as `Ethernet/IPv4/TCP`.
    pub(super) text: Text,
    /// Name of the last layer.
    pub(super) application: Text,
    /// Index of the age queue of flows with this application.
    pub(super) class: u8,
}

impl PathInfo {
    /// Returns the values of a path; `class` maps an application name to its age queue.
    pub(super) fn new(path: &LayersPath, class: impl Fn(&str) -> u8) -> Self {
        let application = path.application().map_or("", |layer| layer.name());
        Self {
            text: path.to_string().into(),
            application: application.into(),
            class: class(application),
        }
    }
}

impl LayerPaths {
    /// Returns the number of a path, interning it if it is new; `None` if it is new and [`LIMIT`]
    /// paths are interned (hostile traffic can nest layers in arbitrarily many ways).
    pub(super) fn number(&mut self, path: &LayersPath, class: impl Fn(&str) -> u8) -> Option<u16> {
        if let Some(number) = self.numbers.get(path) {
            return Some(*number);
        }
        let number = u16::try_from(self.paths.len())
            .ok()
            .filter(|number| *number < LIMIT)?;
        self.paths.push(PathInfo::new(path, class));
        self.numbers.insert(*path, number);
        Some(number)
    }

    /// Returns the values of an interned path; `None` if no path has this number.
    pub(super) fn get(&self, number: u16) -> Option<&PathInfo> {
        self.paths.get(usize::from(number))
    }
}

/// Maximum number of interned paths.
const LIMIT: u16 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Layer;

    #[test]
    fn a_path_has_one_number_and_the_list_is_bounded() {
        let mut paths = LayerPaths::default();
        let path = |i: usize| -> LayersPath {
            let digits = [i % 60, i / 60 % 60, i / 3600].map(|digit| Layer::ALL[digit]);
            digits.into_iter().collect()
        };
        for i in 0..usize::from(LIMIT) {
            assert_eq!(
                paths.number(&path(i), |_| 0),
                Some(u16::try_from(i).unwrap())
            );
        }
        assert_eq!(paths.number(&path(usize::from(LIMIT)), |_| 0), None);
        assert_eq!(paths.number(&path(7), |_| 0), Some(7));
        let info = paths.get(7).unwrap();
        assert_eq!(info.application, Layer::ALL[0].name());
    }
}
