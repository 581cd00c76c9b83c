//! `HistoryReport`: contents of a history folder, read without its lock, while another process may
//! write it.

use std::io;
use std::path::Path;

use super::disk::{Disk, OsDisk};
use super::flow_segment::FlowSegment;
use super::folder::{DAMAGED, bytes_below};
use super::frame::LogContent;
use super::graph_segment::GraphSegment;
use super::names::Name;
use super::parquet_file::ParquetFile;
use super::segment_folder;
use crate::error_chain::Chain;
use crate::store::StoreError;
use crate::time::Timestamp;

/// Contents of a history folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryReport {
    /// Segments and snapshots of all tables, oldest first.
    pub segments: Vec<SegmentReport>,
    /// Logs of all tables, oldest first.
    pub logs: Vec<LogReport>,
    /// Names of the damaged files and folders, which were moved to the folder `damaged`.
    pub damaged: Vec<String>,
    /// Size of all files, in bytes.
    pub bytes: u64,
}

/// Segment or snapshot of a [`HistoryReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentReport {
    /// Table: `flow` or `graph`.
    pub table: &'static str,
    /// Name of the folder.
    pub name: String,
    /// Number of rows of each file.
    pub rows: Vec<(&'static str, usize)>,
    /// Size of the files, in bytes.
    pub bytes: u64,
    /// Earliest and latest arrival of a record; `None` if the segment cannot be read.
    pub recorded: Option<(Timestamp, Timestamp)>,
    /// Description of the damage, if there is any.
    pub damage: Option<String>,
}

/// Log of a [`HistoryReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogReport {
    /// Table: `flow` or `graph`.
    pub table: &'static str,
    /// Name of the file.
    pub name: String,
    /// Number of records.
    pub records: usize,
    /// Size in bytes.
    pub bytes: u64,
    /// Bytes at the end, or inside, that belong to no valid frame.
    pub lost_bytes: u64,
    /// Whether the log is damaged: valid frames follow an invalid one.
    pub is_damaged: bool,
}

impl HistoryReport {
    /// Reads the folder of a history. With `is_thorough`, compares the content of all files with
    /// their checksums.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read or contains no history.
    pub fn read(root: &Path, is_thorough: bool) -> Result<Self, StoreError> {
        let mut report = Self {
            bytes: bytes_below(root),
            ..Self::default()
        };
        let error = |source| StoreError::File {
            action: "read the history in",
            path: root.to_owned(),
            source,
        };
        let mut is_history = false;
        for table in ["flow", "graph"] {
            let folder = root.join(table);
            match OsDisk.list(&folder) {
                Ok(names) => {
                    is_history = true;
                    report.add_table(table, &folder, &names, is_thorough);
                }
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
                Err(failure) => return Err(error(failure)),
            }
        }
        if !is_history {
            return Err(error(io::Error::other(NO_HISTORY)));
        }
        report.damaged = OsDisk.list(&root.join(DAMAGED)).unwrap_or_default();
        Ok(report)
    }

    /// Returns whether any file is damaged.
    #[must_use]
    pub fn has_damage(&self) -> bool {
        self.segments.iter().any(|segment| segment.damage.is_some())
            || self.logs.iter().any(|log| log.is_damaged)
    }

    fn add_table(
        &mut self,
        table: &'static str,
        folder: &Path,
        names: &[String],
        is_thorough: bool,
    ) {
        for text in names {
            let path = folder.join(text);
            match Name::parse(text) {
                Some(Name::Log(_)) => self.logs.extend(log_report(table, text, &path)),
                Some(name) => {
                    let report = segment_report(table, name, &path, is_thorough);
                    // The process that writes may have merged the segment in the meantime.
                    if path.exists() {
                        self.segments.push(report);
                    }
                }
                None => {}
            }
        }
    }
}

/// Returns the number of rows of each file, by its name without the extension.
fn rows<'a>(
    files: impl Iterator<Item = (&'static str, &'a ParquetFile)>,
) -> Vec<(&'static str, usize)> {
    let named = files.map(|(name, file)| {
        let name = name.strip_suffix(".parquet").unwrap_or(name);
        (name, file.rows())
    });
    named.collect()
}

fn log_report(table: &'static str, name: &str, path: &Path) -> Option<LogReport> {
    let bytes = OsDisk.read(path).ok()?;
    let content = LogContent::read(&bytes);
    Some(LogReport {
        table,
        name: name.to_owned(),
        records: content.records().count(),
        bytes: bytes.len() as u64,
        lost_bytes: content.lost_bytes as u64,
        is_damaged: content.is_damaged,
    })
}

fn segment_report(
    table: &'static str,
    name: Name,
    path: &Path,
    is_thorough: bool,
) -> SegmentReport {
    let mut report = SegmentReport {
        table,
        name: name.to_string(),
        rows: Vec::new(),
        bytes: bytes_below(path),
        recorded: None,
        damage: None,
    };
    let time = |(from, to)| (Timestamp::from_ms(from), Timestamp::from_ms(to));
    let opened = if table == "flow" {
        FlowSegment::open(&OsDisk, path, name).map(|segment| {
            report.rows = rows(segment.files());
            report.recorded = Some(time(segment.span.updated));
        })
    } else {
        GraphSegment::open(&OsDisk, path, name).map(|segment| {
            report.rows = rows(segment.files());
            report.recorded = Some(time(segment.span.recorded));
        })
    };
    let checked = opened.and_then(|()| match is_thorough {
        true => segment_folder::check(&OsDisk, path),
        false => Ok(()),
    });
    report.damage = checked.err().map(|error| Chain(&error).to_string());
    report
}

/// Reason for a folder without a history.
pub(super) const NO_HISTORY: &str = "the folder has no history; expected the data folder of a daemon \
    (storage.local.path)";
