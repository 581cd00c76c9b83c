//! Frames of WebSocket clients (RFC 6455, section 5.2), whose payload has to be masked.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Returns a final frame with a masked payload; `key` is random.
#[pyfunction]
pub(crate) fn websocket_frame<'py>(
    py: Python<'py>,
    opcode: u8,
    payload: &[u8],
    key: [u8; 4],
) -> PyResult<Bound<'py, PyBytes>> {
    let len = payload.len();
    let mut head = Vec::with_capacity(MAX_HEAD_BYTES);
    head.push(FINAL | opcode);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..=125), _) => head.push(MASKED | len),
        (_, Ok(len)) => {
            head.push(MASKED | 126);
            head.extend(len.to_be_bytes());
        }
        _ => {
            head.push(MASKED | 127);
            head.extend((len as u64).to_be_bytes());
        }
    }
    head.extend(key);
    PyBytes::new_with(py, head.len() + len, |frame| {
        let (start, body) = frame.split_at_mut(head.len());
        start.copy_from_slice(&head);
        for (target, (byte, key)) in body.iter_mut().zip(payload.iter().zip(key.iter().cycle())) {
            *target = byte ^ key;
        }
        Ok(())
    })
}

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Two bytes, the extended length, and the key.
const MAX_HEAD_BYTES: usize = 14;
