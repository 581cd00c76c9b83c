//! `JsonWriter`: writes the same JSON as `serde_json`, several times as fast.
//!
//! Most of a topology's JSON consists of short strings, numbers, and a few keys. They are written
//! as blocks of fixed size, of which only the beginning is used, into an initialized buffer: short
//! copies compile to single stores, and blocks of eight bytes are checked for escapes (SWAR).

use std::sync::OnceLock;

use serde::Serialize;

use super::{Map, Text, Value};

/// JSON document under construction.
#[derive(Debug)]
pub(crate) struct JsonWriter {
    /// Buffer; the bytes from `at` on are arbitrary. `at <= text.len()`.
    text: Vec<u8>,
    at: usize,
}

impl JsonWriter {
    /// Returns an empty document with a capacity of `bytes`.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self {
            text: vec![0; bytes],
            at: 0,
        }
    }

    /// Returns the length in bytes.
    pub(crate) const fn len(&self) -> usize {
        self.at
    }

    /// Returns the document.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.at]
    }

    /// Removes the content and retains the capacity.
    pub(crate) const fn clear(&mut self) {
        self.at = 0;
    }

    /// Writes bytes that are already JSON.
    pub(crate) fn raw(&mut self, json: &[u8]) {
        copy(self.room(json.len()), json);
        self.at += json.len();
    }

    /// Writes JSON of constant length; compiles to a single store.
    pub(crate) fn constant<const N: usize>(&mut self, json: &[u8; N]) {
        *self.block() = *json;
        self.at += N;
    }

    /// Writes a string.
    pub(crate) fn text(&mut self, text: &Text) {
        let Some((bytes, len)) = text.inline() else {
            return self.string(text);
        };
        let (head, tail) = (bytes.first_chunk(), bytes.last_chunk());
        if !head.is_some_and(is_plain_word) || !tail.is_some_and(is_plain_word) {
            return self.string(text);
        }
        let block = self.block::<16>();
        block[0] = b'"';
        block[1..15].copy_from_slice(bytes);
        block[1 + len] = b'"';
        self.at += len + 2;
    }

    /// Writes a string that is not a [`Text`].
    pub(crate) fn string(&mut self, text: &str) {
        if !is_plain(text.as_bytes()) {
            return self.serialized(text);
        }
        let len = text.len();
        let room = self.room(len + 2);
        room[0] = b'"';
        copy(&mut room[1..=len], text.as_bytes());
        room[len + 1] = b'"';
        self.at += len + 2;
    }

    /// Writes an integer.
    pub(crate) fn int(&mut self, number: i64) {
        if number < 0 {
            self.constant(b"-");
        }
        let number = number.unsigned_abs();
        if number < EIGHT_DIGITS {
            let digits = eight_digits(number);
            let zeros = (digits.trailing_zeros() / 8).min(7);
            let digits = digits | u64::from_le_bytes([b'0'; 8]);
            *self.block() = (digits >> (8 * zeros)).to_le_bytes();
            self.at += 8 - zeros as usize;
            return;
        }
        let (high, low) = (number / SIXTEEN_DIGITS, number % SIXTEEN_DIGITS);
        if high > 0 {
            self.digits(high, false);
        }
        self.digits(low, high > 0);
    }

    /// Writes a number below [`SIXTEEN_DIGITS`], padded with zeros to 16 digits if `whole` is true.
    fn digits(&mut self, number: u64, whole: bool) {
        let (high, low) = (number / EIGHT_DIGITS, number % EIGHT_DIGITS);
        let digits = u128::from(eight_digits(high)) | (u128::from(eight_digits(low)) << 64);
        let zeros = match whole {
            true => 0,
            false => (digits.trailing_zeros() / 8).min(15),
        };
        let digits = digits | u128::from_le_bytes([b'0'; 16]);
        *self.block() = (digits >> (8 * zeros)).to_le_bytes();
        self.at += 16 - zeros as usize;
    }

    /// Writes a UUID in its hyphenated form.
    pub(crate) fn uuid(&mut self, uuid: [u8; 16]) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = uuid;
        let first = hex([a, b, c, d]);
        let second = hex([e, f, g, h]);
        let third = hex([i, j, k, l]);
        let block = self.block::<38>();
        block[0] = b'"';
        block[1..9].copy_from_slice(&first);
        block[9] = b'-';
        block[10..14].copy_from_slice(&second[..4]);
        block[14] = b'-';
        block[15..19].copy_from_slice(&second[4..]);
        block[19] = b'-';
        block[20..24].copy_from_slice(&third[..4]);
        block[24] = b'-';
        block[25..29].copy_from_slice(&third[4..]);
        block[29..37].copy_from_slice(&hex([m, n, o, p]));
        block[37] = b'"';
        self.at += 38;
    }

    /// Writes a value.
    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.constant(b"null"),
            Value::Bool(true) => self.constant(b"true"),
            Value::Bool(false) => self.constant(b"false"),
            Value::Int(number) => self.int(*number),
            Value::Float(number) => self.serialized(number),
            Value::Text(text) => self.text(text),
            Value::List(list) => {
                self.constant(b"[");
                for (i, value) in list.iter().enumerate() {
                    if i > 0 {
                        self.constant(b",");
                    }
                    self.value(value);
                }
                self.constant(b"]");
            }
            Value::Map(map) => self.map(map),
        }
    }

    /// Writes an object.
    pub(crate) fn map(&mut self, map: &Map) {
        if map.is_empty() {
            return self.constant(b"{}");
        }
        let keys = map.shape().json_keys().iter();
        for (i, (key, (name, value))) in keys.zip(map.iter()).enumerate() {
            if key.len > 0 {
                *self.block() = key.text;
                self.at += usize::from(key.len);
            } else {
                self.constant(if i > 0 { b"," } else { b"{" });
                self.string(name);
                self.constant(b":");
            }
            self.value(value);
        }
        self.constant(b"}");
    }

    /// Writes a value with `serde_json`, for types that are not worth a separate function.
    pub(crate) fn serialized<T: Serialize + ?Sized>(&mut self, value: &T) {
        // Infallible: writing strings and numbers to a `Vec` never fails.
        let text = serde_json::to_vec(value).unwrap_or_default();
        self.raw(&text);
    }

    /// Returns the next `N` bytes of the buffer.
    fn block<const N: usize>(&mut self) -> &mut [u8; N] {
        self.room(N)
            .first_chunk_mut()
            .expect("the room has `N` bytes")
    }

    /// Returns the next bytes of the buffer; grows it if necessary.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.text.len() - self.at < bytes {
            self.grow(bytes);
        }
        &mut self.text[self.at..][..bytes]
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        let len = (2 * self.text.len()).max(self.at + bytes).max(MIN_CAPACITY);
        self.text.resize(len, 0);
    }
}

/// Key of an object with its punctuation: `{"Name":` or `,"Name":`.
#[derive(Clone, Debug)]
pub(super) struct KeyJson {
    /// Length of the JSON in `text`; zero if the key is too long for it.
    len: u8,
    text: [u8; KEY_ROOM],
}

const KEY_ROOM: usize = 32;

/// Keys of a [`Shape`](super::Shape) as JSON, formatted when an object with this shape is first
/// written.
pub(super) type KeyJsons = OnceLock<Box<[KeyJson]>>;

impl KeyJson {
    pub(super) fn new(position: usize, key: &str) -> Self {
        let mut writer = JsonWriter::with_room(KEY_ROOM);
        writer.constant(if position > 0 { b"," } else { b"{" });
        writer.string(key);
        writer.constant(b":");
        let mut text = [0; KEY_ROOM];
        match text.get_mut(..writer.len()) {
            Some(room) => {
                room.copy_from_slice(writer.as_bytes());
                let len = u8::try_from(writer.len()).unwrap_or_default();
                Self { len, text }
            }
            None => Self { len: 0, text },
        }
    }
}

/// Copies a slice to another of the same length; a short slice is copied as two blocks that may
/// overlap.
fn copy(to: &mut [u8], from: &[u8]) {
    if !(copy_ends::<8>(to, from) || copy_ends::<16>(to, from)) {
        to.copy_from_slice(from);
    }
}

/// Copies a slice of `N` to 2 `N` bytes; returns `false` for other lengths.
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
    if from.len() > 2 * N {
        return false;
    }
    let (Some(head), Some(tail)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return false;
    };
    if let Some(to) = to.first_chunk_mut() {
        *to = *head;
    }
    if let Some(to) = to.last_chunk_mut() {
        *to = *tail;
    }
    true
}

/// Returns whether a string needs no escapes.
fn is_plain(text: &[u8]) -> bool {
    match text.last_chunk() {
        Some(tail) => text.as_chunks().0.iter().all(is_plain_word) && is_plain_word(tail),
        None => text.iter().all(|b| *b >= b' ' && *b != b'"' && *b != b'\\'),
    }
}

/// Returns the result of [`is_plain`] for eight bytes at once (SWAR).
const fn is_plain_word(bytes: &[u8; 8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    /// Returns a word in which the top bit of a byte is set if any byte is below `bound`.
    const fn below(word: u64, bound: u8) -> u64 {
        word.wrapping_sub(ONES * bound as u64) & !word
    }
    let word = u64::from_le_bytes(*bytes);
    let quote = below(word ^ (ONES * b'"' as u64), 1);
    let backslash = below(word ^ (ONES * b'\\' as u64), 1);
    (below(word, b' ') | quote | backslash) & TOPS == 0
}

const EIGHT_DIGITS: u64 = 100_000_000;
const SIXTEEN_DIGITS: u64 = EIGHT_DIGITS * EIGHT_DIGITS;

/// Returns the digits of a number below [`EIGHT_DIGITS`] as bytes from 0 to 9, the first digit in
/// the lowest byte.
const fn eight_digits(number: u64) -> u64 {
    // Split into halves, quarters, and digits, all lanes at once. A division by 100 or 10 is a
    // multiplication by a slightly larger fraction of a power of two, exact in this range.
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let quarters = hundreds | ((halves - 100 * hundreds) << 16);
    let tens = ((quarters * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((quarters - 10 * tens) << 8)
}

/// Returns four bytes as hexadecimal digits.
fn hex(bytes: [u8; 4]) -> [u8; 8] {
    // Spread to one byte in every two, then to one digit per byte, the high digit first.
    let word = u64::from(u32::from_le_bytes(bytes));
    let word = (word | (word << 16)) & 0x0000_ffff_0000_ffff;
    let word = (word | (word << 8)) & 0x00ff_00ff_00ff_00ff;
    let digits = ((word >> 4) & 0x000f_000f_000f_000f) | ((word & 0x000f_000f_000f_000f) << 8);
    // Digits above 9 continue at `a`.
    let letters = ((digits + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    let gap = u64::from(b'a' - b'0' - 10);
    (digits + 0x3030_3030_3030_3030 + letters * gap).to_le_bytes()
}

/// Minimum capacity after growth, in bytes.
const MIN_CAPACITY: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn written(write: impl Fn(&mut JsonWriter)) -> String {
        let mut writer = JsonWriter::with_room(0);
        writer.raw(b"before");
        writer.clear();
        write(&mut writer);
        assert_eq!(writer.as_bytes().len(), writer.len());
        String::from_utf8(writer.as_bytes().to_vec()).unwrap()
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::Float),
            any::<String>().prop_map(Value::from),
            "[ -~]{0,70}".prop_map(Value::from),
        ];
        let key = prop_oneof!["[A-Za-z0-9]{0,40}", any::<String>()];
        leaf.prop_recursive(4, 60, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::list),
                proptest::collection::vec((key.clone(), inner), 0..6)
                    .prop_map(|pairs| Value::Map(Map::from_iter(pairs))),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_are_written_as_by_serde_json(value in value()) {
            let wanted = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(written(|writer| writer.value(&value)), wanted);
        }

        #[test]
        fn numbers_and_uuids_are_those_of_their_crates(number in any::<i64>(), cut in 0..63, uuid in any::<u128>()) {
            let number = number >> cut;
            prop_assert_eq!(written(|writer| writer.int(number)), number.to_string());
            let uuid = Uuid::from_u128(uuid);
            let wanted = format!("\"{uuid}\"");
            prop_assert_eq!(written(|writer| writer.uuid(uuid.into_bytes())), wanted);
        }
    }

    #[test]
    fn every_length_and_every_byte_that_needs_an_escape() {
        for len in 0..80 {
            for at in 0..len {
                for odd in [0, 0x1f, b' ', b'"', b'\\', 0x7f] {
                    let mut text = "x".repeat(len).into_bytes();
                    text[at] = odd;
                    let text = String::from_utf8(text).unwrap();
                    let wanted = serde_json::to_string(&text).unwrap();
                    assert_eq!(written(|writer| writer.string(&text)), wanted);
                    assert_eq!(
                        written(|writer| writer.text(&Text::from(text.as_str()))),
                        wanted
                    );
                }
            }
        }
    }

    #[test]
    fn numbers_around_the_powers_of_ten() {
        let powers = (0..19).map(|exponent| 10_i64.pow(exponent));
        let near = powers.flat_map(|power| [power - 1, power, power + 1, -power]);
        for number in near.chain([0, i64::MIN, i64::MAX]) {
            assert_eq!(written(|writer| writer.int(number)), number.to_string());
        }
        for number in 0..10_000 {
            assert_eq!(written(|writer| writer.int(number)), number.to_string());
        }
    }
}
