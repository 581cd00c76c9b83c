//! How far reading has come, as a bar on a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use skylib::capture::FileProgress;

/// A bar on standard error; nothing where that is no terminal.
pub(super) struct Progress {
    file: FileProgress,
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(file: FileProgress) -> Self {
        let (bar, template) = match file.total_bytes() {
            Some(total) => (
                ProgressBar::new(total),
                "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
            ),
            None => (
                ProgressBar::no_length(),
                "{binary_bytes}, {binary_bytes_per_sec}",
            ),
        };
        // A template that were wrong leaves the usual look.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { file, bar }
    }

    /// Draws, some times a second at most.
    pub(super) fn show(&self) {
        self.bar.set_position(self.file.read_bytes());
    }

    /// Leaves nothing behind.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
