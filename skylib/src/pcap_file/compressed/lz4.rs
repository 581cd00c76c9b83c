//! The LZ4 frame format.

use std::fmt;
use std::io::Read;

use lz4_flex::frame::FrameDecoder;

use super::input::Input;
use super::{CUT, OTHER_DATA, text};

/// Reads all frames of an LZ4 file.
pub(super) struct Lz4<R: Read> {
    decoder: FrameDecoder<Input<R>>,
    in_frame: bool,
}

impl<R: Read> Lz4<R> {
    pub(super) fn new(input: Input<R>) -> Self {
        Self {
            decoder: FrameDecoder::new(input),
            in_frame: false,
        }
    }

    pub(super) fn input(&mut self) -> &mut Input<R> {
        self.decoder.get_mut()
    }

    /// At least a byte, or none at the end; else what is wrong.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        loop {
            if !self.in_frame && !self.find_frame()? {
                return Ok(0);
            }
            self.in_frame = true;
            let made = self.decoder.read(buffer).map_err(|error| text(&error))?;
            if made > 0 {
                return Ok(made);
            }
            // The decoder takes the end of the file between two blocks for the end of the frame,
            // which is marked.
            if self.input().has_ended {
                return Err(CUT.to_owned());
            }
            self.in_frame = false;
        }
    }

    /// Goes to the next frame, if there is one.
    fn find_frame(&mut self) -> Result<bool, String> {
        let input = self.input();
        while input.skip_frame().map_err(|error| text(&error))? {}
        match input.peek(4).map_err(|error| text(&error))? {
            [] => Ok(false),
            MAGIC => Ok(true),
            _ => Err(OTHER_DATA.to_owned()),
        }
    }
}

impl<R: Read> fmt::Debug for Lz4<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lz4")
            .field("in_frame", &self.in_frame)
            .finish_non_exhaustive()
    }
}

/// First bytes of a frame.
pub(super) const MAGIC: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
