//! `FileUse`: the part of a history file that a query reads.

use std::fmt;

use serde::Serialize;

/// Part of a history file that a query reads, and the reason for reading or skipping the file.
///
/// ```
/// use skylib::file_use::FileUse;
/// let skipped = FileUse::new("flow/seg-0000000001-0000000001", "before the time").of(5000, 1);
/// assert_eq!(
///     skipped.to_string(),
///     "flow/seg-0000000001-0000000001: 0 of 1 pages, 0 of 5000 rows (before the time)"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileUse {
    /// Path of the file in the folder of the history, or `memory`.
    #[serde(rename = "File")]
    pub file: String,
    /// Number of pages that are read.
    #[serde(rename = "Pages")]
    pub pages: usize,
    /// Number of pages of the file.
    #[serde(rename = "OfPages")]
    pub of_pages: usize,
    /// Number of rows that are read.
    #[serde(rename = "Rows")]
    pub rows: usize,
    /// Number of rows of the file.
    #[serde(rename = "OfRows")]
    pub of_rows: usize,
    /// Reason why the rows are read, or why no rows are read.
    #[serde(rename = "Reason")]
    pub reason: String,
}

impl FileUse {
    /// Returns the use of a file of which nothing is read.
    #[must_use]
    pub fn new(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            pages: 0,
            of_pages: 0,
            rows: 0,
            of_rows: 0,
            reason: reason.into(),
        }
    }

    /// Sets the size of the file: its rows and pages.
    #[must_use]
    pub fn of(self, of_rows: usize, of_pages: usize) -> Self {
        Self {
            of_rows,
            of_pages,
            ..self
        }
    }

    /// Adds rows, and the pages that contain them.
    #[must_use]
    pub fn reads(self, rows: usize, pages: usize) -> Self {
        Self {
            rows: self.rows + rows,
            pages: self.pages + pages,
            ..self
        }
    }
}

impl fmt::Display for FileUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} of {} pages, {} of {} rows ({})",
            self.file, self.pages, self.of_pages, self.rows, self.of_rows, self.reason
        )
    }
}
