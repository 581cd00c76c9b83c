//! `Chains`: the revisions of each element, one after the other in time.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Revision;
use crate::graph::element::Element;
use crate::graph::insertion_order::InsertionOrder;
use crate::graph::storage::make_room;
use crate::time::{Timestamp, When};

/// All elements of one kind by place, by id and in the order they came.
pub(super) struct Chains<E: Element> {
    chains: Vec<Option<Chain<E>>>,
    free: Vec<u32>,
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
    order: InsertionOrder,
}

/// The revisions of one element. Their times follow each other whatever clocks they come from:
/// each begins when the one before ends, or later.
#[expect(
    clippy::box_collection,
    reason = "a pointer instead of four words, in each of a million elements"
)]
pub(super) struct Chain<E> {
    /// None of most elements, which never change.
    former: Option<Box<VecDeque<Span<E>>>>,
    newest: Span<E>,
    /// Number of the change that brought the element.
    born: u64,
}

/// A revision and its time.
struct Span<E> {
    element: Arc<E>,
    /// Number of the change that made it.
    number: u64,
    from: Timestamp,
    end: Option<End>,
}

#[derive(Clone, Copy)]
struct End {
    at: Timestamp,
    /// Number of the change that ended it.
    number: u64,
}

/// What a reader sees: revisions of a time, as recorded up to a change.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) when: When,
    pub(super) recorded: u64,
}

/// What a change ended: where, and how many bytes only the past holds on to now.
pub(super) struct Ended {
    pub(super) place: u32,
    pub(super) bytes: usize,
}

impl<E: Element> Chains<E> {
    /// Takes down an element that came or changed; ends its former revision.
    pub(super) fn put(&mut self, element: &Arc<E>, number: u64) -> (u32, Option<Ended>) {
        let begin = in_ms(element.fields().updated_at.max(element.fields().created_at));
        if let Some(place) = self.find(element.id())
            && let Some(chain) = self.chain_mut(place)
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
            return (place, open.then_some(Ended { place, bytes }));
        }
        let span = Span {
            element: Arc::clone(element),
            number,
            from: begin,
            end: None,
        };
        (self.add(span), None)
    }

    /// Takes down that an element went. Nothing for one that is not known.
    pub(super) fn end(&mut self, gone: &Arc<E>, number: u64) -> Option<Ended> {
        let place = self.find(gone.id())?;
        let newest = &mut self.chain_mut(place)?.newest;
        if newest.end.is_some() {
            return None;
        }
        let at = in_ms(gone.fields().deleted_at.unwrap_or(newest.from));
        newest.end = Some(End {
            at: at.max(newest.from),
            number,
        });
        newest.element = Arc::clone(gone);
        let bytes = gone.metadata().heap_bytes() + overhead::<E>();
        Some(Ended { place, bytes })
    }

    /// Drops an element's oldest revision, which must have ended; the element with its last one.
    pub(super) fn drop_oldest(&mut self, place: u32) -> Option<Arc<E>> {
        let chain = self.chain_mut(place)?;
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
        if let Ok(entry) = self.ids.find_entry(hash, |found| *found == place) {
            entry.remove();
        }
        self.order.remove(place as usize);
        self.free.push(place);
        let chain = self.chains.get_mut(place as usize)?.take()?;
        Some(chain.newest.element)
    }

    /// The newest revision of the element with an id, also of one that has gone.
    pub(super) fn newest(&self, id: &E::Id) -> Option<&Arc<E>> {
        Some(&self.chain(self.find(id)?)?.newest.element)
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Where the element with an id is.
    pub(super) fn find(&self, id: &E::Id) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        let is_it = |place: &u32| {
            self.chain(*place)
                .is_some_and(|chain| chain.newest.element.id() == id)
        };
        self.ids.find(hash, is_it).copied()
    }

    pub(super) fn chain(&self, place: u32) -> Option<&Chain<E>> {
        self.chains.get(place as usize)?.as_ref()
    }

    /// The place after another in the order in which elements came; the first for none.
    pub(super) fn after(&self, place: Option<u32>) -> Option<u32> {
        let next = self.order.after(place.map(|place| place as usize))?;
        u32::try_from(next).ok()
    }

    /// Bytes an element takes in the index, times elements.
    pub(super) fn index_bytes(&self) -> usize {
        const LINK: usize = 8;
        self.chains.len() * (size_of::<Option<Chain<E>>>() + size_of::<u32>() + LINK)
    }

    fn chain_mut(&mut self, place: u32) -> Option<&mut Chain<E>> {
        self.chains.get_mut(place as usize)?.as_mut()
    }

    fn add(&mut self, span: Span<E>) -> u32 {
        let hash = self.hasher.hash_one(span.element.id());
        let chain = Chain {
            former: None,
            born: span.number,
            newest: span,
        };
        let place = self.free.pop().unwrap_or_else(|| {
            let place = self.chains.len();
            make_room(&mut self.chains, place);
            // A graph holds less than 2^32 elements, and so does a history in a memory.
            u32::try_from(place).unwrap_or(u32::MAX)
        });
        if let Some(slot) = self.chains.get_mut(place as usize) {
            *slot = Some(chain);
        }
        let (chains, hasher) = (&self.chains, &self.hasher);
        self.ids.insert_unique(hash, place, |place| {
            let chain = chains.get(*place as usize).and_then(Option::as_ref);
            chain.map_or(0, |chain| hasher.hash_one(chain.newest.element.id()))
        });
        self.order.push(place as usize);
        place
    }
}

impl<E: Element> Chain<E> {
    /// Number of the change that brought the element.
    pub(super) const fn born(&self) -> u64 {
        self.born
    }

    /// The revisions of a window, oldest first; only the last of them at a point.
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
            // Everything before has ended when the newest begins.
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

    /// How many former revisions, of which those that fulfil a test come first, do so.
    fn before(&self, test: impl Fn(&Span<E>) -> bool) -> usize {
        let former = self.former.as_ref();
        former.map_or(0, |former| former.partition_point(test))
    }

    /// Whether any revision fulfils a test.
    pub(super) fn any(&self, test: impl FnMut(&E) -> bool) -> bool {
        self.all().any(test)
    }

    /// All revisions, oldest first.
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

/// Times as clients see them.
const fn in_ms(time: Timestamp) -> Timestamp {
    Timestamp::from_ms(time.as_ms())
}

/// Bytes that a revision takes beside its metadata.
const fn overhead<E>() -> usize {
    size_of::<E>() + size_of::<Span<E>>()
}
