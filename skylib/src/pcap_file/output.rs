//! Output of the capture file writers, which counts the bytes written.

use std::io::Write;

use super::PcapFileError;

/// Target of a writer, with the number of bytes written to it.
#[derive(Debug)]
pub(super) struct Output<W> {
    pub(super) target: W,
    /// Number of bytes written so far.
    pub(super) written: u64,
}

impl<W: Write> Output<W> {
    pub(super) const fn new(target: W) -> Self {
        Self { target, written: 0 }
    }

    /// Writes all of `bytes`; an error contains the offset of the first of them.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> Result<(), PcapFileError> {
        let offset = self.written;
        self.target
            .write_all(bytes)
            .map_err(|source| PcapFileError::Io { offset, source })?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), PcapFileError> {
        let offset = self.written;
        self.target
            .flush()
            .map_err(|source| PcapFileError::Io { offset, source })
    }
}
