//! The order in which elements came, as a linked list beside them.

use super::storage::make_room;

/// A list of element numbers: append, remove and step in constant time, 8 bytes an element.
///
/// `petgraph` gives the numbers of elements that have gone to new ones, so the numbers themselves
/// tell no order.
#[derive(Default)]
pub(super) struct InsertionOrder {
    links: Vec<Links>,
    first: u32,
    last: u32,
}

/// Neighbours in the list, counted from one; zero is the end.
#[derive(Clone, Copy, Default)]
struct Links {
    before: u32,
    after: u32,
}

impl InsertionOrder {
    /// Appends a number that is not in the list.
    pub(super) fn push(&mut self, index: usize) {
        make_room(&mut self.links, index);
        let place = place(index);
        self.links[index] = Links {
            before: self.last,
            after: 0,
        };
        match self.last {
            0 => self.first = place,
            last => self.links[last as usize - 1].after = place,
        }
        self.last = place;
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

    /// The number after one that is in the list; the first where none is given.
    #[inline]
    pub(super) fn after(&self, index: Option<usize>) -> Option<usize> {
        let place = match index {
            None => self.first,
            Some(index) => self.links.get(index)?.after,
        };
        (place as usize).checked_sub(1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        std::iter::successors(self.after(None), |index| self.after(Some(*index)))
    }
}

/// An index counted from one; 32-bit graph indexes end one below `u32::MAX`.
fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_numbers_come_back_at_the_end() {
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
