//! `Chains`: the revisions of each element in chronological order.
//!
//! The revision at an instant is found by binary search: `O(log n)` in the revisions of an element.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Revision;
use crate::graph::element::Element;
use crate::graph::insertion_order::InsertionOrder;
use crate::graph::storage::make_room;
use crate::time::{Timestamp, When};

/// All nodes or all edges, by slot, by id, and in insertion order.
pub(super) struct Chains<E: Element> {
    /// One chain per slot; `None` for the slots in `free`.
    chains: Vec<Option<Chain<E>>>,
    free: Vec<u32>,
    /// Hash index from an id to a slot.
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
    order: InsertionOrder,
}

/// Revisions of one element. Their times are made monotonic, whatever clock they come from: each
/// revision begins at the end of the previous one, or later.
#[expect(
    clippy::box_collection,
    reason = "a pointer instead of four words in each element, of which there may be a million"
)]
pub(super) struct Chain<E> {
    /// Revisions before the newest one, oldest first; never empty. `None` for most elements, which never
    /// change.
    former: Option<Box<VecDeque<Span<E>>>>,
    newest: Span<E>,
    /// Number of the change that inserted the element.
    born: u64,
}

/// A revision and its interval of time.
struct Span<E> {
    element: Arc<E>,
    /// Number of the change that made the revision.
    number: u64,
    from: Timestamp,
    /// End of the interval; `None` if the revision is current.
    end: Option<End>,
}

/// End of a revision.
#[derive(Clone, Copy)]
struct End {
    at: Timestamp,
    /// Number of the change that ended the revision.
    number: u64,
}

/// Part of the past that a reader sees: the revisions of a time, as recorded up to a change.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) when: When,
    pub(super) recorded: u64,
}

/// Revision that a change has ended.
pub(super) struct Ended {
    /// Slot of the element.
    pub(super) slot: u32,
    /// Bytes that the revision does not share with the next one.
    pub(super) bytes: usize,
}

impl<E: Element> Chains<E> {
    /// Records the insertion of an element or a change to it; returns its slot and its previous
    /// revision, which ends.
    pub(super) fn put(&mut self, element: &Arc<E>, number: u64) -> (u32, Option<Ended>) {
        let begin = in_ms(element.fields().updated_at.max(element.fields().created_at));
        if let Some(slot) = self.find(element.id())
            && let Some(chain) = self.chain_mut(slot)
        {
            let newest = &mut chain.newest;
            let open = newest.end.is_none();
            let from = begin.max(newest.end.map_or(newest.from, |end| end.at));
            newest.end.get_or_insert(End { at: from, number });
            let span = Span {
                element: Arc::clone(element),
                number,
                from,
                end: None,
            };
            let former = std::mem::replace(newest, span);
            let metadata = former.element.metadata();
            let bytes = metadata.unshared_bytes(element.metadata()) + overhead::<E>();
            chain.former.get_or_insert_default().push_back(former);
            return (slot, open.then_some(Ended { slot, bytes }));
        }
        let span = Span {
            element: Arc::clone(element),
            number,
            from: begin,
            end: None,
        };
        (self.add(span), None)
    }

    /// Records the deletion of an element; `None` if it is unknown or deleted already.
    pub(super) fn end(&mut self, deleted: &Arc<E>, number: u64) -> Option<Ended> {
        let slot = self.find(deleted.id())?;
        let newest = &mut self.chain_mut(slot)?.newest;
        if newest.end.is_some() {
            return None;
        }
        let at = in_ms(deleted.fields().deleted_at.unwrap_or(newest.from));
        newest.end = Some(End {
            at: at.max(newest.from),
            number,
        });
        newest.element = Arc::clone(deleted);
        let bytes = deleted.metadata().heap_bytes() + overhead::<E>();
        Some(Ended { slot, bytes })
    }

    /// Drops the oldest revision of an element, which must have ended. Removes the element if no
    /// revision is left.
    pub(super) fn drop_oldest(&mut self, slot: u32) -> Option<Arc<E>> {
        let chain = self.chain_mut(slot)?;
        if let Some(former) = &mut chain.former
            && let Some(span) = former.pop_front()
        {
            if former.is_empty() {
                chain.former = None;
            }
            return Some(span.element);
        }
        chain.newest.end?;
        let id = chain.newest.element.id().clone();
        let hash = self.hasher.hash_one(&id);
        if let Ok(entry) = self.ids.find_entry(hash, |found| *found == slot) {
            entry.remove();
        }
        self.order.remove(slot as usize);
        self.free.push(slot);
        let chain = self.chains.get_mut(slot as usize)?.take()?;
        Some(chain.newest.element)
    }

    /// Returns the newest revision of the element with this id, which may be deleted.
    pub(super) fn newest(&self, id: &E::Id) -> Option<&Arc<E>> {
        Some(&self.chain(self.find(id)?)?.newest.element)
    }

    /// Returns the number of elements.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns the slot of the element with this id.
    pub(super) fn find(&self, id: &E::Id) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        let is_it = |slot: &u32| {
            self.chain(*slot)
                .is_some_and(|chain| chain.newest.element.id() == id)
        };
        self.ids.find(hash, is_it).copied()
    }

    pub(super) fn chain(&self, slot: u32) -> Option<&Chain<E>> {
        self.chains.get(slot as usize)?.as_ref()
    }

    /// Returns the next slot in insertion order; the first for `None`.
    pub(super) fn after(&self, slot: Option<u32>) -> Option<u32> {
        let next = self.order.after(slot.map(|slot| slot as usize))?;
        u32::try_from(next).ok()
    }

    /// Returns the size of the tables in bytes.
    pub(super) fn index_bytes(&self) -> usize {
        const LINK: usize = 8;
        self.chains.len() * (size_of::<Option<Chain<E>>>() + size_of::<u32>() + LINK)
    }

    fn chain_mut(&mut self, slot: u32) -> Option<&mut Chain<E>> {
        self.chains.get_mut(slot as usize)?.as_mut()
    }

    fn add(&mut self, span: Span<E>) -> u32 {
        let hash = self.hasher.hash_one(span.element.id());
        let chain = Chain {
            former: None,
            born: span.number,
            newest: span,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.chains.len();
            make_room(&mut self.chains, slot);
            // A graph has less than 2^32 elements, and so has its past in memory.
            u32::try_from(slot).unwrap_or(u32::MAX)
        });
        if let Some(slot) = self.chains.get_mut(slot as usize) {
            *slot = Some(chain);
        }
        let (chains, hasher) = (&self.chains, &self.hasher);
        self.ids.insert_unique(hash, slot, |slot| {
            let chain = chains.get(*slot as usize).and_then(Option::as_ref);
            chain.map_or(0, |chain| hasher.hash_one(chain.newest.element.id()))
        });
        self.order.push(slot as usize);
        slot
    }
}

impl<E: Element> Chain<E> {
    /// Returns the number of the change that inserted the element.
    pub(super) const fn born(&self) -> u64 {
        self.born
    }

    /// Returns the revisions of a window, oldest first; at an instant, only the last of them.
    pub(super) fn within(&self, window: Window) -> impl Iterator<Item = Revision<E>> {
        let slice = window.when.slice();
        // COMPAT: both ends of a revision belong to it.
        let is_over = |span: &Span<E>| match span.end {
            Some(end) => end.number <= window.recorded && end.at < slice.start,
            None => false,
        };
        let has_begun = |span: &Span<E>| span.number <= window.recorded && span.from <= slice.last;
        let newest = Some(&self.newest).filter(|span| has_begun(span) && !is_over(span));
        let former = match window.when {
            // All earlier revisions have ended when the newest one begins.
            When::At(_) if has_begun(&self.newest) => 0..0,
            when => {
                let begun = self.before(has_begun);
                let over = self.before(is_over).min(begun);
                match when {
                    When::At(_) => over.max(begun.saturating_sub(1))..begun,
                    When::During(_) => over..begun,
                }
            }
        };
        let spans = self
            .former
            .iter()
            .flat_map(move |f| f.range(former.clone()));
        let spans = spans.chain(newest);
        spans.map(|span| Revision {
            element: Arc::clone(&span.element),
            number: span.number,
        })
    }

    /// Returns the number of revisions before the newest one that pass a test, by binary search:
    /// the revisions that pass must precede the others.
    fn before(&self, test: impl Fn(&Span<E>) -> bool) -> usize {
        let former = self.former.as_ref();
        former.map_or(0, |former| former.partition_point(test))
    }

    /// Returns whether any revision passes a test.
    pub(super) fn any(&self, test: impl FnMut(&E) -> bool) -> bool {
        self.all().any(test)
    }

    /// Iterates over all revisions, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &E> + Clone {
        let former = self.former.iter().flat_map(|former| former.iter());
        let spans = former.chain(std::iter::once(&self.newest));
        spans.map(|span| &*span.element)
    }
}

impl<E: Element> Default for Chains<E> {
    fn default() -> Self {
        Self {
            chains: Vec::new(),
            free: Vec::new(),
            ids: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            order: InsertionOrder::default(),
        }
    }
}

/// Returns a time in milliseconds, the resolution that clients receive.
const fn in_ms(time: Timestamp) -> Timestamp {
    Timestamp::from_ms(time.as_ms())
}

/// Returns the size in bytes of a revision without its metadata.
const fn overhead<E>() -> usize {
    size_of::<E>() + size_of::<Span<E>>()
}
