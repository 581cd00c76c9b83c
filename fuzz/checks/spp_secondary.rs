//! Checks of the replies of an SPP process. The first byte is the size of the chunks in which they
//! are received.

use skylib::spp::ReplyBuffer;

/// Panics if reading panics, or if the buffer holds more than its limit.
pub(crate) fn check(input: &[u8]) {
    let Some((size, bytes)) = input.split_first() else {
        return;
    };
    let mut buffer = ReplyBuffer::default();
    for piece in bytes.chunks(usize::from(*size).max(1)) {
        match buffer.push(piece) {
            Ok(Some(reply)) => {
                assert!(
                    reply
                        .refusal()
                        .is_none_or(|text| text.len() <= MAX_ERROR_LEN)
                );
                return;
            }
            Ok(None) => assert!(buffer.len() <= ReplyBuffer::LIMIT),
            Err(error) => {
                assert!(error.len() <= MAX_ERROR_LEN);
                return;
            }
        }
    }
}

/// Maximum length of an error message, in bytes.
const MAX_ERROR_LEN: usize = 1024;
