//! Zstandard (RFC 8878).

use std::fmt;
use std::io::Read;

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::input::Input;
use super::{TRUNCATED, WRONG_CHECKSUM, text};

/// Reader of all frames of a zstd file.
pub(super) struct Zstd<R> {
    pub(super) input: Input<R>,
    decoder: FrameDecoder,
    /// Whether the decoder is inside a frame.
    in_frame: bool,
    /// Damage to report after all content before it has been returned.
    failure: Option<String>,
}

impl<R: Read> Zstd<R> {
    pub(super) fn new(input: Input<R>) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW_BYTES);
        Self {
            input,
            decoder,
            in_frame: false,
            failure: None,
        }
    }

    /// Reads at least one byte, or none at the end; the error describes the damage.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        loop {
            if self.in_frame && self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer).map_err(|error| error.to_string());
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.in_frame && self.decoder.is_finished() {
                self.in_frame = false;
                let wanted = self.decoder.get_checksum_from_data();
                if wanted.is_some() && wanted != self.decoder.get_calculated_checksum() {
                    return Err(WRONG_CHECKSUM.to_owned());
                }
            }
            if !self.in_frame && !self.find_frame()? {
                return Ok(0);
            }
            self.in_frame = true;
            let one = BlockDecodingStrategy::UptoBlocks(1);
            if let Err(error) = self.decoder.decode_blocks(&mut self.input, one) {
                self.failure = Some(self.reason(&error));
                // The decoder retains the window to which later blocks may refer until the last
                // block; an empty last block makes it return the content.
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(LAST_BLOCK, one).ok();
            }
        }
    }

    /// Moves to the next frame; returns whether there is another frame.
    fn find_frame(&mut self) -> Result<bool, String> {
        while self.input.skip_frame().map_err(|error| text(&error))? {}
        match self.input.peek(1) {
            Ok([]) => Ok(false),
            Ok(_) => match self.decoder.reset(&mut self.input) {
                Ok(()) => Ok(true),
                Err(error) => Err(self.reason(&error)),
            },
            Err(error) => Err(text(&error)),
        }
    }

    /// Returns the description of an error from the decoder.
    fn reason(&self, error: &FrameDecoderError) -> String {
        match self.input.has_ended {
            true => TRUNCATED.to_owned(),
            false => error.to_string(),
        }
    }
}

impl<R> fmt::Debug for Zstd<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd")
            .field("in_frame", &self.in_frame)
            .finish_non_exhaustive()
    }
}

/// First bytes of a frame.
pub(super) const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Maximum window size, in bytes: the default limit of the `zstd` tool.
const MAX_WINDOW_BYTES: u64 = 128 << 20;

/// Empty last block, followed by space for a checksum.
const LAST_BLOCK: &[u8] = &[1, 0, 0, 0, 0, 0, 0];
