//! What open views still need of the past: former revisions, and elements that have gone.
//!
//! Every change has a sequence number. An element's slot holds its newest revision and the number
//! of the change that made it; a view opened before that number finds the revision it is to see
//! here. A revision is kept when it is replaced only if some open view can see it, and dropped,
//! a few with each later change, once the oldest view is younger than its end.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;

use hashbrown::HashMap;

use super::element::Element;

/// The number of the change that made a revision; the top bit says that the element has gone.
///
/// A gone element's mark compares greater than every sequence number, so one comparison tells
/// whether a view sees the newest revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(NonZeroU64);

const GONE: NonZeroU64 = NonZeroU64::new(1 << 63).expect("not zero");

impl Mark {
    pub(super) fn new(sequence: u64) -> Self {
        Self(NonZeroU64::new(sequence).unwrap_or(NonZeroU64::MIN))
    }

    /// Whether the newest revision is what a view at `sequence` sees.
    pub(super) const fn is_seen_at(self, sequence: u64) -> bool {
        self.0.get() <= sequence
    }

    pub(super) const fn is_gone(self) -> bool {
        self.0.get() & GONE.get() != 0
    }

    pub(super) fn gone(self) -> Self {
        Self(self.0 | GONE)
    }

    /// The sequence number alone.
    pub(super) const fn sequence(self) -> u64 {
        self.0.get() & !GONE.get()
    }
}

/// The kept past of one kind of elements.
pub(super) struct Revisions<E: Element> {
    former: HashMap<u32, Former<E>>,
    /// Where elements that have gone are still held; an id may have been used again since.
    gone: HashMap<E::Id, Vec<u32>>,
    /// All that is kept, by the change that ended it.
    queue: VecDeque<Ended>,
    bytes: usize,
}

struct Former<E> {
    /// Each with the change that made it, oldest first.
    versions: VecDeque<(u64, Arc<E>)>,
    died: Option<u64>,
}

struct Ended {
    at: u64,
    index: u32,
    bytes: u32,
}

impl<E: Element> Revisions<E> {
    /// Keeps a revision that was made by the change `mark` and has just been replaced.
    pub(super) fn keep(&mut self, index: u32, mark: Mark, former: Arc<E>, now: u64) {
        let bytes = former.metadata().heap_bytes() + size_of::<E>();
        self.enqueue(index, bytes, now);
        self.former_mut(index)
            .versions
            .push_back((mark.sequence(), former));
    }

    /// Keeps an element that has just gone; its newest revision stays in its slot.
    pub(super) fn bury(&mut self, index: u32, element: &E, now: u64) {
        self.enqueue(index, element.metadata().heap_bytes() + size_of::<E>(), now);
        self.former_mut(index).died = Some(now);
        self.gone
            .entry(element.id().clone())
            .or_default()
            .push(index);
    }

    /// Drops the oldest thing kept if it ended at or before `oldest`, the oldest open view.
    pub(super) fn drop_one(&mut self, oldest: u64) -> Dropped {
        let Some(ended) = self.queue.pop_front_if(|ended| ended.at <= oldest) else {
            return Dropped::Nothing;
        };
        self.bytes -= ended.bytes as usize;
        let Some(former) = self.former.get_mut(&ended.index) else {
            return Dropped::Revision;
        };
        if former.died == Some(ended.at) {
            self.former.remove(&ended.index);
            return Dropped::Element(ended.index);
        }
        former.versions.pop_front();
        if former.versions.is_empty() && former.died.is_none() {
            self.former.remove(&ended.index);
        }
        Dropped::Revision
    }

    /// Forgets the id of an element that was dropped.
    pub(super) fn forget(&mut self, id: &E::Id, index: u32) {
        if let Some(places) = self.gone.get_mut(id) {
            places.retain(|place| *place != index);
            if places.is_empty() {
                self.gone.remove(id);
            }
        }
    }

    /// What a view at `sequence` sees of an element whose newest revision is not for it.
    pub(super) fn at<'a>(
        &'a self,
        index: u32,
        mark: Mark,
        newest: &'a Arc<E>,
        sequence: u64,
    ) -> Option<&'a Arc<E>> {
        let former = self.former.get(&index)?;
        if former.died.is_some_and(|died| died <= sequence) {
            return None;
        }
        if mark.sequence() <= sequence {
            return Some(newest);
        }
        let made_before = |(made, _): &&(u64, Arc<E>)| *made <= sequence;
        former
            .versions
            .iter()
            .rev()
            .find(made_before)
            .map(|(_, version)| version)
    }

    /// Whether anything of an element's past is kept.
    pub(super) fn has(&self, index: u32) -> bool {
        self.former.contains_key(&index)
    }

    /// Where elements of that id that have gone are still held.
    pub(super) fn gone(&self, id: &E::Id) -> &[u32] {
        self.gone.get(id).map_or(&[], Vec::as_slice)
    }

    /// The elements changed after `sequence`, each as often as it changed.
    pub(super) fn changed_after(&self, sequence: u64) -> impl Iterator<Item = u32> {
        let from = self.queue.partition_point(|ended| ended.at <= sequence);
        self.queue.range(from..).map(|ended| ended.index)
    }

    /// The change that ended the oldest thing kept.
    pub(super) fn oldest_end(&self) -> Option<u64> {
        self.queue.front().map(|ended| ended.at)
    }

    /// Number of revisions and elements kept.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes kept, shared parts counted as if owned.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn enqueue(&mut self, index: u32, bytes: usize, now: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes += bytes as usize;
        self.queue.push_back(Ended {
            at: now,
            index,
            bytes,
        });
    }

    fn former_mut(&mut self, index: u32) -> &mut Former<E> {
        let empty = || Former {
            versions: VecDeque::new(),
            died: None,
        };
        self.former.entry(index).or_insert_with(empty)
    }
}

impl<E: Element> Default for Revisions<E> {
    fn default() -> Self {
        Self {
            former: HashMap::new(),
            gone: HashMap::new(),
            queue: VecDeque::new(),
            bytes: 0,
        }
    }
}

/// What [`Revisions::drop_one`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Nothing was old enough.
    Nothing,
    /// A revision.
    Revision,
    /// An element that had gone: its slot can be freed.
    Element(u32),
}
