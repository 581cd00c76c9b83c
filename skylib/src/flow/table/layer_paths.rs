//! The layers paths a table has seen, by number.

use hashbrown::HashMap;

use crate::decode::LayersPath;
use crate::value::Text;

/// Paths by number, with what follows from them.
#[derive(Debug, Default)]
pub(super) struct Paths {
    numbers: HashMap<LayersPath, u16>,
    paths: Vec<PathInfo>,
}

/// What follows from a path.
#[derive(Clone, Debug)]
pub(super) struct PathInfo {
    /// As clients see it.
    pub(super) text: Text,
    /// Name of its last layer.
    pub(super) application: Text,
    /// Queue of flows whose application that is.
    pub(super) class: u8,
}

impl PathInfo {
    /// Of a path; `class` tells the queue of an application.
    pub(super) fn new(path: &LayersPath, class: impl Fn(&str) -> u8) -> Self {
        let application = path.application().map_or("", |layer| layer.name());
        Self {
            text: path.to_string().into(),
            application: application.into(),
            class: class(application),
        }
    }
}

impl Paths {
    /// The number of a path; `None` if it is new and the list is full (hostile traffic can nest
    /// layers in more ways than are worth remembering).
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

    pub(super) fn get(&self, number: u16) -> Option<&PathInfo> {
        self.paths.get(usize::from(number))
    }
}

/// The most paths remembered.
const LIMIT: u16 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Layer;

    #[test]
    fn a_path_keeps_its_number_and_the_list_ends() {
        let mut paths = Paths::default();
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
