//! What makes one list of items another: what left, moved, changed and entered.

use hashbrown::HashMap;

use super::item::Key;
use super::keyed_rows::Row;
use super::update::{Change, List};

/// The changes between two lists.
pub(super) struct Difference {
    /// What left, last place first.
    pub(super) left: Vec<Change>,
    /// Everything else, to be done after that.
    pub(super) others: Vec<Change>,
}

impl Difference {
    /// What makes `old` into `new`, done one after the other; `None` where so much changed places
    /// that the new list as a whole says it better. `is_stale` tells of an old row that whoever
    /// has the list does not know its item.
    pub(super) fn between(
        list: List,
        old: &[Row],
        new: &[Row],
        is_stale: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        let from = origins(old, new);
        let mut stays = vec![false; old.len()];
        for place in from.iter().flatten() {
            stays[*place as usize] = true;
        }
        let left = (0..old.len()).rev().filter(|place| !stays[*place]);
        let left = left.map(|at| Change::left(list, at, &old[at]));
        let is_changed = |at: usize| {
            from[at].is_some_and(|place| {
                let place = place as usize;
                is_stale(place) || !old[place].item.is_same(&new[at].item)
            })
        };
        let mut others = Vec::new();
        let mut has_moved = vec![false; new.len()];
        for Move { from, to, at } in moves(&from)? {
            has_moved[at] = true;
            others.push(Change::changed(list, from, to, &new[at]));
        }
        for (at, row) in new.iter().enumerate() {
            if from[at].is_none() {
                others.push(Change::entered(list, at, row));
            } else if !has_moved[at] && is_changed(at) {
                others.push(Change::changed(list, at, at, row));
            }
        }
        Some(Self {
            left: left.collect(),
            others,
        })
    }
}

/// For each new row the place of the old one with its key; of several alike the first to the first.
fn origins(old: &[Row], new: &[Row]) -> Vec<Option<u32>> {
    let same_place = old
        .iter()
        .zip(new)
        .take_while(|(old, new)| old.key == new.key)
        .count();
    let mut from: Vec<Option<u32>> = (0..same_place).map(|place| Some(place as u32)).collect();
    // Chains of the places of each key that are still to be had, first to last.
    let mut first: HashMap<&Key, u32> = HashMap::new();
    let mut after = vec![NONE; old.len()];
    for (place, row) in old.iter().enumerate().skip(same_place).rev() {
        after[place] = first.insert(&row.key, place as u32).unwrap_or(NONE);
    }
    for row in &new[same_place..] {
        from.push(
            first
                .get_mut(&row.key)
                .filter(|place| **place != NONE)
                .map(|place| {
                    let found = *place;
                    *place = after[found as usize];
                    found
                }),
        );
    }
    from
}

/// A row that stays in the list but changes its place among those that stay.
struct Move {
    from: usize,
    to: usize,
    /// Its place in the new list.
    at: usize,
}

/// The fewest moves that bring those that stay into their new order.
fn moves(from: &[Option<u32>]) -> Option<Vec<Move>> {
    let staying: Vec<(u32, usize)> = from
        .iter()
        .enumerate()
        .filter_map(|(at, place)| Some(((*place)?, at)))
        .collect();
    if staying.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return Some(Vec::new());
    }
    let in_place = longest_rise(&staying);
    if staying.len() - in_place.iter().filter(|is_in| **is_in).count() > MAX_MOVES {
        return None;
    }
    // The list as the receiver has it: places in `staying`, in the old order.
    let mut list: Vec<usize> = (0..staying.len()).collect();
    list.sort_unstable_by_key(|which| staying[*which].0);
    let mut moves = Vec::new();
    let mut is_placed = in_place.clone();
    for which in (0..staying.len()).filter(|which| !in_place[*which]) {
        let from = list.iter().position(|other| *other == which)?;
        list.remove(from);
        let before = list
            .iter()
            .rposition(|other| is_placed[*other] && *other < which);
        let to = before.map_or(0, |place| place + 1);
        list.insert(to, which);
        is_placed[which] = true;
        moves.push(Move {
            from,
            to,
            at: staying[which].1,
        });
    }
    Some(moves)
}

/// Marks a longest series of old places that rises: those rows need not move.
fn longest_rise(staying: &[(u32, usize)]) -> Vec<bool> {
    // `ends[n]`: where the rise of n + 1 places with the smallest end has its end.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = vec![None; staying.len()];
    for (which, (place, _)) in staying.iter().enumerate() {
        let length = ends.partition_point(|end| staying[*end].0 < *place);
        before[which] = length.checked_sub(1).map(|last| ends[last]);
        match ends.get_mut(length) {
            Some(end) => *end = which,
            None => ends.push(which),
        }
    }
    let mut marks = vec![false; staying.len()];
    let mut next = ends.last().copied();
    while let Some(which) = next {
        marks[which] = true;
        next = before[which];
    }
    marks
}

/// Each move takes a look at the whole list.
const MAX_MOVES: usize = 256;
/// No place; lists are shorter.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gremlin::live::Item;
    use crate::value::Value;

    fn rows(list: &[(u8, u8)]) -> Vec<Row> {
        let row = |(key, value): &(u8, u8)| Row {
            key: Key::Value(key.to_string()),
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
            let difference = Difference::between(List::First, &old, &new, |_| false).unwrap();
            let left = difference.left.len();
            let entered =
                difference.others.iter().filter(|c| matches!(c, Change::Entered { .. })).count();
            prop_assert_eq!(before - left + entered, new.len());
            for change in difference.left.iter().chain(&difference.others) {
                prop_assert!(change.apply(&mut old), "{:?}", change);
            }
            prop_assert_eq!(&old, &new);
            let again = Difference::between(List::First, &old, &new, |_| false).unwrap();
            prop_assert!(again.left.is_empty() && again.others.is_empty());
        }
    }

    #[test]
    fn one_that_jumps_is_one_move() {
        let (old, new) = (
            rows(&[(0, 0), (1, 0), (2, 0), (3, 0)]),
            rows(&[(1, 0), (2, 0), (3, 0), (0, 0)]),
        );
        let difference = Difference::between(List::First, &old, &new, |_| false).unwrap();
        assert_eq!(
            difference.others,
            [Change::changed(List::First, 0, 3, &new[3])]
        );
        let stale = Difference::between(List::First, &old, &old, |place| place == 2).unwrap();
        assert_eq!(stale.others, [Change::changed(List::First, 2, 2, &old[2])]);
    }

    #[test]
    fn a_list_turned_round_is_told_as_a_whole() {
        let old: Vec<Row> = rows(&(0..=255).map(|n| (n, 0)).collect::<Vec<_>>());
        let new: Vec<Row> = old.iter().rev().cloned().collect();
        assert!(Difference::between(List::First, &old, &new, |_| false).is_some());
        let twice = |rows: &[Row]| {
            let second = |row: &Row| Row {
                key: Key::Value(format!("{} too", row.key)),
                ..row.clone()
            };
            rows.iter()
                .cloned()
                .chain(rows.iter().map(second))
                .collect::<Vec<Row>>()
        };
        let new: Vec<Row> = twice(&old).into_iter().rev().collect();
        assert!(Difference::between(List::First, &twice(&old), &new, |_| false).is_none());
    }
}
