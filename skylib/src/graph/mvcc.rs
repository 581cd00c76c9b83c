//! Multi-version concurrency control (MVCC): old revisions and deleted elements for open views.
//!
//! Every change has a sequence number. The slot of an element contains its newest revision and the
//! number of the change that made it; a view that was opened before that change finds its revision
//! here. A replaced revision is stored only if an open view can see it, and dropped once the oldest
//! view was opened after it was replaced. Storing and dropping cost `O(1)`; a lookup is linear in
//! the number of stored revisions of the element.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;

use hashbrown::HashMap;

use super::element::Element;

/// Sequence number of the change that made a revision; the top bit is set if the element has been
/// deleted.
///
/// The mark of a deleted element is greater than every sequence number, so one comparison decides
/// whether a view sees the newest revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(NonZeroU64);

const DELETED: NonZeroU64 = NonZeroU64::new(1 << 63).expect("not zero");

impl Mark {
    pub(super) fn new(sequence: u64) -> Self {
        Self(NonZeroU64::new(sequence).unwrap_or(NonZeroU64::MIN))
    }

    /// Returns whether a view at `sequence` sees the newest revision.
    pub(super) const fn is_seen_at(self, sequence: u64) -> bool {
        self.0.get() <= sequence
    }

    pub(super) const fn is_deleted(self) -> bool {
        self.0.get() & DELETED.get() != 0
    }

    pub(super) fn deleted(self) -> Self {
        Self(self.0 | DELETED)
    }

    /// Returns the sequence number without the deletion bit.
    pub(super) const fn sequence(self) -> u64 {
        self.0.get() & !DELETED.get()
    }
}

/// Stored revisions of nodes or of edges.
pub(super) struct OldRevisions<E: Element> {
    /// Old revisions by the index of their element.
    former: HashMap<u32, Former<E>>,
    /// Indexes of deleted elements by id; an id may have been reused since.
    deleted: HashMap<E::Id, Vec<u32>>,
    /// All stored revisions and deletions, in the order of the changes that ended them.
    queue: VecDeque<Ended>,
    /// Sum of the bytes in `queue`.
    bytes: usize,
}

struct Former<E> {
    /// Revisions with the changes that made them, oldest first.
    versions: VecDeque<(u64, Arc<E>)>,
    /// Sequence number of the deletion.
    deleted_at: Option<u64>,
}

/// Revision that has been replaced, or element that has been deleted.
struct Ended {
    /// Sequence number of the replacement or deletion.
    at: u64,
    index: u32,
    bytes: u32,
}

impl<E: Element> OldRevisions<E> {
    /// Stores a revision that was made by the change `mark` and has been replaced by the change `now`.
    pub(super) fn store(&mut self, index: u32, mark: Mark, former: Arc<E>, now: u64) {
        let bytes = former.metadata().heap_bytes() + size_of::<E>();
        self.enqueue(index, bytes, now);
        self.former_mut(index)
            .versions
            .push_back((mark.sequence(), former));
    }

    /// Stores that an element has been deleted by the change `now`; its newest revision is still in
    /// its slot.
    pub(super) fn store_deleted(&mut self, index: u32, element: &E, now: u64) {
        self.enqueue(index, element.metadata().heap_bytes() + size_of::<E>(), now);
        self.former_mut(index).deleted_at = Some(now);
        self.deleted
            .entry(element.id().clone())
            .or_default()
            .push(index);
    }

    /// Drops the first entry of the queue if it ended at or before `oldest`, the oldest open view.
    pub(super) fn drop_one(&mut self, oldest: u64) -> Dropped {
        let Some(ended) = self.queue.pop_front_if(|ended| ended.at <= oldest) else {
            return Dropped::Nothing;
        };
        self.bytes -= ended.bytes as usize;
        let Some(former) = self.former.get_mut(&ended.index) else {
            return Dropped::Revision;
        };
        if former.deleted_at == Some(ended.at) {
            self.former.remove(&ended.index);
            return Dropped::Element(ended.index);
        }
        former.versions.pop_front();
        if former.versions.is_empty() && former.deleted_at.is_none() {
            self.former.remove(&ended.index);
        }
        Dropped::Revision
    }

    /// Removes the id of an element that has been dropped.
    pub(super) fn forget(&mut self, id: &E::Id, index: u32) {
        if let Some(indexes) = self.deleted.get_mut(id) {
            indexes.retain(|other| *other != index);
            if indexes.is_empty() {
                self.deleted.remove(id);
            }
        }
    }

    /// Returns the revision that a view at `sequence` sees of an element that has changed or has been
    /// deleted since; `None` if the element did not exist then.
    pub(super) fn at<'a>(
        &'a self,
        index: u32,
        mark: Mark,
        newest: &'a Arc<E>,
        sequence: u64,
    ) -> Option<&'a Arc<E>> {
        let former = self.former.get(&index)?;
        if former
            .deleted_at
            .is_some_and(|deleted_at| deleted_at <= sequence)
        {
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

    /// Returns whether an old revision or the deletion of an element is stored.
    pub(super) fn has(&self, index: u32) -> bool {
        self.former.contains_key(&index)
    }

    /// Returns the indexes of deleted elements with this id.
    pub(super) fn deleted(&self, id: &E::Id) -> &[u32] {
        self.deleted.get(id).map_or(&[], Vec::as_slice)
    }

    /// Returns the indexes of the elements that changed after `sequence`, once for each change.
    pub(super) fn changed_after(&self, sequence: u64) -> impl Iterator<Item = u32> {
        let from = self.queue.partition_point(|ended| ended.at <= sequence);
        self.queue.range(from..).map(|ended| ended.index)
    }

    /// Returns the sequence number of the first entry of the queue.
    pub(super) fn oldest_end(&self) -> Option<u64> {
        self.queue.front().map(|ended| ended.at)
    }

    /// Returns the number of stored revisions and deletions.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns the size of the stored revisions in bytes; shared parts count as if owned.
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
            deleted_at: None,
        };
        self.former.entry(index).or_insert_with(empty)
    }
}

impl<E: Element> Default for OldRevisions<E> {
    fn default() -> Self {
        Self {
            former: HashMap::new(),
            deleted: HashMap::new(),
            queue: VecDeque::new(),
            bytes: 0,
        }
    }
}

/// Result of [`OldRevisions::drop_one`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Nothing: an open view needs the first entry of the queue, or the queue is empty.
    Nothing,
    /// An old revision.
    Revision,
    /// A deleted element: its slot can be freed.
    Element(u32),
}
