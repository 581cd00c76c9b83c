//! Progress bar while a file is read.

use indicatif::{ProgressBar, ProgressStyle};
use skylib::capture::FileProgress;

/// Progress bar on standard error; hidden if standard error is not a terminal.
pub(super) struct Progress {
    file: FileProgress,
    bar: ProgressBar,
}

impl Progress {
    /// Creates a bar for a file.
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
        // If the template is invalid, the default style remains.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { file, bar }
    }

    /// Updates the bar; indicatif limits how often it is drawn.
    pub(super) fn show(&self) {
        self.bar.set_position(self.file.read_bytes());
    }

    /// Removes the bar.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
