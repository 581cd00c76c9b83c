//! `InsertionOrder`: the order in which elements were inserted, as a doubly linked list.

use super::storage::make_room;

/// Doubly linked list of element numbers: append, remove, and step in constant time, with eight
/// bytes per element.
///
/// `petgraph` reuses the numbers of removed elements, so the numbers themselves have no order.
#[derive(Default)]
pub(super) struct InsertionOrder {
    /// Links of each element; those of a number that is not in the list are zero.
    links: Vec<Links>,
    /// First and last element, counted from one; both are zero in an empty list.
    first: u32,
    last: u32,
}

/// Neighbors in the list, counted from one; zero at the ends.
#[derive(Clone, Copy, Default)]
struct Links {
    before: u32,
    after: u32,
}

impl InsertionOrder {
    /// Appends a number that is not in the list.
    pub(super) fn push(&mut self, index: usize) {
        make_room(&mut self.links, index);
        let position = from_one(index);
        self.links[index] = Links {
            before: self.last,
            after: 0,
        };
        match self.last {
            0 => self.first = position,
            last => self.links[last as usize - 1].after = position,
        }
        self.last = position;
    }

    /// Removes a number that is in the list.
    pub(super) fn remove(&mut self, index: usize) {
        let Links { before, after } = std::mem::take(&mut self.links[index]);
        match before {
            0 => self.first = after,
            before => self.links[before as usize - 1].after = after,
        }
        match after {
            0 => self.last = before,
            after => self.links[after as usize - 1].before = before,
        }
    }

    /// Returns the number that follows a number in the list; the first for `None`.
    #[inline]
    pub(super) fn after(&self, index: Option<usize>) -> Option<usize> {
        let position = match index {
            None => self.first,
            Some(index) => self.links.get(index)?.after,
        };
        (position as usize).checked_sub(1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        std::iter::successors(self.after(None), |index| self.after(Some(*index)))
    }
}

/// Returns an index counted from one; 32-bit graph indexes end one below `u32::MAX`.
fn from_one(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_inserted_again_are_last() {
        let mut order = InsertionOrder::default();
        (0..4).for_each(|i| order.push(i));
        order.remove(0);
        order.remove(2);
        order.push(0);
        assert_eq!(order.iter().collect::<Vec<_>>(), [1, 3, 0]);
        [1, 3, 0].into_iter().for_each(|i| order.remove(i));
        assert_eq!(order.after(None), None);
        order.push(3);
        assert_eq!(order.iter().collect::<Vec<_>>(), [3]);
    }
}
