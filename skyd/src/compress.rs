//! Compression of response bodies: `gzip` and `deflate`.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, UPGRADE, VARY,
};

use crate::response::{Body, Response};

/// Content coding that clients of Skydive request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// gzip, RFC 1952.
    Gzip,
    /// Raw DEFLATE, RFC 1951.
    ///
    /// COMPAT: Go's servers omit the zlib wrapper that RFC 9110 requires.
    Deflate,
}

impl Coding {
    /// Returns the first supported coding that a request lists, ignoring weights; `None` for upgrades.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        if headers.contains_key(UPGRADE) {
            return None;
        }
        let listed = headers
            .get_all(ACCEPT_ENCODING)
            .iter()
            .filter_map(|v| v.to_str().ok());
        listed.flat_map(|list| list.split(',')).find_map(|item| {
            match item.split(';').next().unwrap_or_default().trim() {
                "gzip" => Some(Self::Gzip),
                "deflate" => Some(Self::Deflate),
                _ => None,
            }
        })
    }

    /// Returns the name that headers use.
    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

/// Compresses the body of a response unless it is short or already compressed.
///
/// An empty body never gets a coding: Go clients would fail to decompress it.
pub(crate) fn apply(response: &mut Response, coding: Option<Coding>) {
    response
        .headers_mut()
        .append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let Some(coding) = coding else { return };
    if response.headers().contains_key(CONTENT_ENCODING) {
        return;
    }
    let encoder = Encoder::new(coding);
    match response.body().as_whole() {
        Some(bytes) if bytes.len() < MIN_BYTES => return,
        Some(bytes) if bytes.len() <= MAX_BYTES_AT_ONCE => {
            let mut encoder = encoder;
            let mut packed = encoder.encode(bytes).to_vec();
            packed.extend_from_slice(&encoder.finish());
            *response.body_mut() = Body::whole(packed);
        }
        _ => response.body_mut().encode_with(encoder),
    }
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
}

/// Streaming compressor of one body.
pub(crate) enum Encoder {
    /// See [`Coding::Gzip`].
    Gzip(GzEncoder<Vec<u8>>),
    /// See [`Coding::Deflate`].
    Deflate(DeflateEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Coding::Deflate => Self::Deflate(DeflateEncoder::new(Vec::new(), Compression::fast())),
        }
    }

    /// Returns the output that is ready after this piece, possibly nothing.
    pub(crate) fn encode(&mut self, piece: &[u8]) -> Bytes {
        let out = match self {
            // Writing into memory cannot fail.
            Self::Gzip(encoder) => {
                drop(encoder.write_all(piece));
                encoder.get_mut()
            }
            Self::Deflate(encoder) => {
                drop(encoder.write_all(piece));
                encoder.get_mut()
            }
        };
        std::mem::take(out).into()
    }

    /// Returns the rest of the output.
    pub(crate) fn finish(self) -> Bytes {
        let out = match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
        };
        out.unwrap_or_default().into()
    }
}

/// Minimum length of a compressed body, in bytes. Shorter bodies fit into one network packet
/// uncompressed.
const MIN_BYTES: usize = 1_000;
/// Maximum length of a body that is compressed at once, in bytes. Longer bodies are compressed
/// while they are sent.
const MAX_BYTES_AT_ONCE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use hyper::StatusCode;

    use super::*;
    use crate::response;

    fn requested(value: &'static str) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
        Coding::of(&headers)
    }

    #[test]
    fn the_first_known_coding_is_taken() {
        assert_eq!(requested("gzip, deflate, br"), Some(Coding::Gzip));
        assert_eq!(
            requested("br;q=1.0, deflate;q=0, gzip"),
            Some(Coding::Deflate)
        );
        assert_eq!(requested("identity"), None);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        assert_eq!(Coding::of(&headers), None);
    }

    #[test]
    fn compressed_pieces_decompress_to_the_input() {
        let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        for coding in [Coding::Gzip, Coding::Deflate] {
            let mut encoder = Encoder::new(coding);
            let mut packed = Vec::new();
            for piece in text.chunks(10_000) {
                packed.extend_from_slice(&encoder.encode(piece));
            }
            packed.extend_from_slice(&encoder.finish());
            let mut unpacked = Vec::new();
            match coding {
                Coding::Gzip => flate2::read::GzDecoder::new(&*packed).read_to_end(&mut unpacked),
                Coding::Deflate => {
                    flate2::read::DeflateDecoder::new(&*packed).read_to_end(&mut unpacked)
                }
            }
            .unwrap();
            assert!(unpacked == text && packed.len() < text.len(), "{coding:?}");
        }
    }

    #[test]
    fn short_and_empty_bodies_are_not_compressed() {
        for mut response in [
            response::bare(StatusCode::NO_CONTENT),
            response::json(StatusCode::OK, &"short"),
        ] {
            apply(&mut response, Some(Coding::Gzip));
            assert!(!response.headers().contains_key(CONTENT_ENCODING));
            assert_eq!(response.headers()[VARY], "Accept-Encoding");
        }
        let mut response = response::json(StatusCode::OK, &"long".repeat(1000));
        apply(&mut response, Some(Coding::Gzip));
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        assert!(response.body().as_whole().unwrap().len() < 200);
    }
}
