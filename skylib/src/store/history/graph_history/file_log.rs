//! `FileLog`: what a reader has read of each file, for explanations.

use std::cell::RefCell;
use std::sync::Arc;

use crate::file_use::FileUse;
use crate::store::history::graph_rows::ChosenRows;
use crate::store::history::graph_segment::GraphSegment;

/// Reads since the last call of [`FileLog::take`], by file and reason.
#[derive(Default)]
pub(super) struct FileLog {
    uses: RefCell<Vec<FileUse>>,
    /// Segments of which nothing is read, with the reason.
    skipped: RefCell<Vec<(Arc<GraphSegment>, String)>>,
}

impl FileLog {
    /// Records a read of chosen rows of a segment, or of all.
    pub(super) fn add(
        &self,
        segment: &Arc<GraphSegment>,
        chosen: Option<&ChosenRows>,
        reason: &str,
    ) {
        segment
            .file_uses(chosen, reason)
            .into_iter()
            .for_each(|new| self.note(new));
    }

    /// Records that nothing is read of segments.
    pub(super) fn skip(&self, segments: impl Iterator<Item = Arc<GraphSegment>>, reason: &str) {
        let skipped = segments.map(|segment| (segment, reason.to_owned()));
        self.skipped.borrow_mut().extend(skipped);
    }

    /// Records a read of rows in memory.
    pub(super) fn add_memory(&self, rows: usize, reason: &str) {
        self.note(FileUse::new("memory", reason).of(rows, 0).reads(rows, 0));
    }

    fn note(&self, new: FileUse) {
        let mut uses = self.uses.borrow_mut();
        let mut known = uses.iter_mut();
        match known.find(|old| old.file == new.file && old.reason == new.reason) {
            Some(old) => *old = old.clone().reads(new.rows, new.pages),
            None => uses.push(new),
        }
    }

    /// Returns the reads since the last call.
    pub(super) fn take(&self) -> Vec<FileUse> {
        let nothing = ChosenRows::default();
        for (segment, reason) in self.skipped.take() {
            self.add(&segment, Some(&nothing), &reason);
        }
        self.uses.take()
    }
}
