//! Difference of two lists of keyed items, with a minimal number of moves.
//!
//! Rows are matched by key with a hash index. The rows that need not move are a longest increasing
//! subsequence of the old positions, found by binary search in O(n log n). Each other matched row is
//! one move, which costs O(n) because positions refer to the list as changed so far; [`MAX_MOVES`]
//! bounds the number of moves.

use hashbrown::HashMap;

use super::item::ItemKey;
use super::keyed_rows::KeyedRow;
use super::update::{Change, List};

/// Changes between two lists, to apply in order: all of `removals`, then all of `others`.
pub(super) struct Diff {
    /// Removals, last position first, so that earlier positions stay valid.
    pub(super) removals: Vec<Change>,
    /// Moves, then insertions and in-place changes by ascending position.
    pub(super) others: Vec<Change>,
}

impl Diff {
    /// Returns the changes that turn `old` into `new`; `None` if they need more than [`MAX_MOVES`]
    /// moves, so that delivering the new list is cheaper.
    ///
    /// `is_outdated` returns whether the client's item at an old position differs from `old`.
    pub(super) fn between(
        list: List,
        old: &[KeyedRow],
        new: &[KeyedRow],
        is_outdated: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        let origins = origins(old, new);
        let mut remains = vec![false; old.len()];
        for position in origins.iter().flatten() {
            remains[*position as usize] = true;
        }
        let removed = (0..old.len()).rev().filter(|position| !remains[*position]);
        let removals = removed.map(|at| Change::left(list, at, &old[at]));
        let is_changed = |at: usize| {
            origins[at].is_some_and(|position| {
                let position = position as usize;
                is_outdated(position) || !old[position].item.is_same(&new[at].item)
            })
        };
        let mut others = Vec::new();
        let mut has_moved = vec![false; new.len()];
        for Move { from, to, at } in moves(&origins)? {
            has_moved[at] = true;
            others.push(Change::changed(list, from, to, &new[at]));
        }
        for (at, row) in new.iter().enumerate() {
            if origins[at].is_none() {
                others.push(Change::entered(list, at, row));
            } else if !has_moved[at] && is_changed(at) {
                others.push(Change::changed(list, at, at, row));
            }
        }
        Some(Self {
            removals: removals.collect(),
            others,
        })
    }
}

/// Returns for each new row the position of the old row with the same key, if any. Duplicate keys
/// are matched in order.
fn origins(old: &[KeyedRow], new: &[KeyedRow]) -> Vec<Option<u32>> {
    // The common prefix needs no index; most answers only change at their end.
    let prefix = old
        .iter()
        .zip(new)
        .take_while(|(old, new)| old.key == new.key)
        .count();
    let mut origins: Vec<Option<u32>> = (0..prefix).map(|position| Some(position as u32)).collect();
    // Per key, a linked list of the old positions not matched yet, ascending: `first` has the head,
    // `after` the next position of each.
    let mut first: HashMap<&ItemKey, u32> = HashMap::new();
    let mut after = vec![NONE; old.len()];
    for (position, row) in old.iter().enumerate().skip(prefix).rev() {
        after[position] = first.insert(&row.key, position as u32).unwrap_or(NONE);
    }
    for row in &new[prefix..] {
        origins.push(
            first
                .get_mut(&row.key)
                .filter(|head| **head != NONE)
                .map(|head| {
                    let found = *head;
                    *head = after[found as usize];
                    found
                }),
        );
    }
    origins
}

/// Move of a matched row, whose order among the matched rows changed.
struct Move {
    /// Position in the list as changed so far, without the removed rows.
    from: usize,
    /// Position at which the row is inserted after its removal.
    to: usize,
    /// Position in the new list.
    at: usize,
}

/// Returns the smallest number of moves that bring the matched rows into their new order; `None` if
/// more than [`MAX_MOVES`] are needed.
fn moves(origins: &[Option<u32>]) -> Option<Vec<Move>> {
    // Old and new position of each matched row, by ascending new position.
    let matched: Vec<(u32, usize)> = origins
        .iter()
        .enumerate()
        .filter_map(|(at, position)| Some(((*position)?, at)))
        .collect();
    if matched.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return Some(Vec::new());
    }
    let is_fixed = longest_increasing_subsequence(&matched);
    if matched.len() - is_fixed.iter().filter(|is_in| **is_in).count() > MAX_MOVES {
        return None;
    }
    // The client's list as indexes into `matched`: first in the old order, then changed by each
    // move. Rows not yet placed remain at their old positions relative to the others.
    let mut list: Vec<usize> = (0..matched.len()).collect();
    list.sort_unstable_by_key(|which| matched[*which].0);
    let mut moves = Vec::new();
    let mut is_placed = is_fixed.clone();
    for which in (0..matched.len()).filter(|which| !is_fixed[*which]) {
        let from = list.iter().position(|other| *other == which)?;
        list.remove(from);
        // Directly after the last placed row that precedes it in the new list.
        let before = list
            .iter()
            .rposition(|other| is_placed[*other] && *other < which);
        let to = before.map_or(0, |position| position + 1);
        list.insert(to, which);
        is_placed[which] = true;
        moves.push(Move {
            from,
            to,
            at: matched[which].1,
        });
    }
    Some(moves)
}

/// Marks the rows of a longest increasing subsequence of the old positions. Costs O(n log n).
fn longest_increasing_subsequence(matched: &[(u32, usize)]) -> Vec<bool> {
    // `ends[n]`: last row of the increasing subsequence of length n + 1 whose last old position is
    // the smallest so far. The old positions of `ends` are ascending, so binary search applies.
    let mut ends: Vec<usize> = Vec::new();
    // Predecessor of each row in its subsequence.
    let mut before = vec![None; matched.len()];
    for (which, (position, _)) in matched.iter().enumerate() {
        let length = ends.partition_point(|end| matched[*end].0 < *position);
        before[which] = length.checked_sub(1).map(|last| ends[last]);
        match ends.get_mut(length) {
            Some(end) => *end = which,
            None => ends.push(which),
        }
    }
    let mut marks = vec![false; matched.len()];
    let mut next = ends.last().copied();
    while let Some(which) = next {
        marks[which] = true;
        next = before[which];
    }
    marks
}

/// Maximum number of moves in a diff; each one scans the list.
const MAX_MOVES: usize = 256;
/// Marker for the absence of a position; lists have fewer rows.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gremlin::live::Item;
    use crate::value::Value;

    fn rows(list: &[(u8, u8)]) -> Vec<KeyedRow> {
        let row = |(key, value): &(u8, u8)| KeyedRow {
            key: ItemKey::Value(key.to_string()),
            item: Item::Value(Value::Int(i64::from(*value))),
        };
        list.iter().map(row).collect()
    }

    fn list() -> impl Strategy<Value = Vec<(u8, u8)>> {
        prop::collection::vec((0..12_u8, 0..3_u8), 0..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn changes_make_the_old_list_the_new_one(old in list(), new in list()) {
            let (mut old, new) = (rows(&old), rows(&new));
            let before = old.len();
            let diff = Diff::between(List::First, &old, &new, |_| false).unwrap();
            let left = diff.removals.len();
            let entered =
                diff.others.iter().filter(|c| matches!(c, Change::Entered { .. })).count();
            prop_assert_eq!(before - left + entered, new.len());
            for change in diff.removals.iter().chain(&diff.others) {
                prop_assert!(change.apply(&mut old), "{:?}", change);
            }
            prop_assert_eq!(&old, &new);
            let again = Diff::between(List::First, &old, &new, |_| false).unwrap();
            prop_assert!(again.removals.is_empty() && again.others.is_empty());
        }
    }

    #[test]
    fn one_that_jumps_is_one_move() {
        let (old, new) = (
            rows(&[(0, 0), (1, 0), (2, 0), (3, 0)]),
            rows(&[(1, 0), (2, 0), (3, 0), (0, 0)]),
        );
        let diff = Diff::between(List::First, &old, &new, |_| false).unwrap();
        assert_eq!(diff.others, [Change::changed(List::First, 0, 3, &new[3])]);
        let stale = Diff::between(List::First, &old, &old, |position| position == 2).unwrap();
        assert_eq!(stale.others, [Change::changed(List::First, 2, 2, &old[2])]);
    }

    #[test]
    fn a_list_beyond_the_move_limit_has_no_diff() {
        let old: Vec<KeyedRow> = rows(&(0..=255).map(|n| (n, 0)).collect::<Vec<_>>());
        let new: Vec<KeyedRow> = old.iter().rev().cloned().collect();
        assert!(Diff::between(List::First, &old, &new, |_| false).is_some());
        let twice = |rows: &[KeyedRow]| {
            let second = |row: &KeyedRow| KeyedRow {
                key: ItemKey::Value(format!("{} too", row.key)),
                ..row.clone()
            };
            rows.iter()
                .cloned()
                .chain(rows.iter().map(second))
                .collect::<Vec<KeyedRow>>()
        };
        let new: Vec<KeyedRow> = twice(&old).into_iter().rev().collect();
        assert!(Diff::between(List::First, &twice(&old), &new, |_| false).is_none());
    }
}
