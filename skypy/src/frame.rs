//! WebSocket frames of a client (RFC 6455, section 5.2), whose payloads are masked.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

/// Returns one final frame per payload, each masked. `keys` are random bytes, four for each frame.
#[pyfunction]
pub(crate) fn websocket_frames<'py>(
    py: Python<'py>,
    opcode: u8,
    payloads: Vec<PyBackedBytes>,
    keys: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let (keys, rest) = keys.as_chunks::<KEY_BYTES>();
    if keys.len() != payloads.len() || !rest.is_empty() {
        return Err(PyValueError::new_err(
            "keys must have four bytes per payload",
        ));
    }
    let size = payloads
        .iter()
        .map(|payload| head_bytes(payload.len()) + payload.len())
        .sum();
    PyBytes::new_with(py, size, |mut frames| {
        for (payload, key) in payloads.iter().zip(keys) {
            let size = head_bytes(payload.len()) + payload.len();
            let (frame, rest) = frames.split_at_mut(size);
            write_frame(frame, opcode, payload, *key);
            frames = rest;
        }
        Ok(())
    })
}

/// Returns the size of a frame without its payload: two bytes, the extended length, and the key.
const fn head_bytes(payload: usize) -> usize {
    match payload {
        ..=125 => 2 + KEY_BYTES,
        126..=0xffff => 4 + KEY_BYTES,
        _ => 10 + KEY_BYTES,
    }
}

/// Writes a frame to a buffer of exactly its size.
fn write_frame(frame: &mut [u8], opcode: u8, payload: &[u8], key: [u8; KEY_BYTES]) {
    let (head, body) = frame.split_at_mut(head_bytes(payload.len()));
    let (start, end) = head.split_at_mut(head.len() - KEY_BYTES);
    end.copy_from_slice(&key);
    start[0] = FINAL | opcode;
    let len = payload.len().to_be_bytes();
    match start.len() {
        2 => start[1] = MASKED | len[7],
        4 => {
            start[1] = MASKED | 126;
            start[2..].copy_from_slice(&len[6..]);
        }
        _ => {
            start[1] = MASKED | 127;
            start[2..].copy_from_slice(&len);
        }
    }
    let (words, rest) = payload.as_chunks::<KEY_BYTES>();
    let (masked_words, masked_rest) = body.as_chunks_mut::<KEY_BYTES>();
    let mask = u32::from_le_bytes(key);
    for (masked, word) in masked_words.iter_mut().zip(words) {
        *masked = (u32::from_le_bytes(*word) ^ mask).to_le_bytes();
    }
    for ((masked, byte), key) in masked_rest.iter_mut().zip(rest).zip(key) {
        *masked = byte ^ key;
    }
}

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const KEY_BYTES: usize = 4;
