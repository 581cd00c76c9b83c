//! `Reply`: the reply of an SPP process to a command.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::shortened;

/// Reply of an SPP process.
///
/// ```
/// use skylib::spp::Reply;
/// let text = br#"{"results":[{"result":"success"}],"client_id":3,"process_type":"pcap"}"#;
/// let reply = Reply::parse(text).map_err(|error| error.to_string())?;
/// assert_eq!((reply.client_id, reply.process_type.as_deref()), (Some(3), Some("pcap")));
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Default, Deserialize)]
#[non_exhaustive]
pub struct Reply {
    /// Results, one for each command; only one command is sent.
    #[serde(default)]
    results: Vec<CommandResult>,
    /// Id of the process, if requested.
    #[serde(default)]
    pub client_id: Option<i64>,
    /// Type of the process, if requested.
    #[serde(default)]
    pub process_type: Option<String>,
    /// Status of the process, if requested.
    #[serde(default)]
    pub info: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
struct CommandResult {
    #[serde(default)]
    result: String,
    #[serde(default)]
    error_details: Option<ErrorDetails>,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorDetails {
    #[serde(default)]
    message: String,
}

/// Logical CPUs in the status of a process.
#[derive(Debug, Deserialize)]
pub(super) struct Cores {
    #[serde(rename = "master-lcore")]
    pub(super) master: u32,
    #[serde(default)]
    pub(super) core: Vec<Core>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Core {
    pub(super) core: u32,
}

impl Reply {
    /// Parses a reply.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a JSON object. If they are the beginning of one,
    /// [`serde_json::Error::is_eof`] returns `true`.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        // serde would also accept an array of the field values.
        if bytes
            .trim_ascii_start()
            .first()
            .is_some_and(|byte| *byte != b'{')
        {
            return Err(serde::de::Error::custom("expected an object"));
        }
        serde_json::from_slice(bytes)
    }

    /// Returns the error message if the command was rejected; otherwise `None`.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let first = self.results.first().filter(|r| r.result == "error")?;
        let message = first.error_details.as_ref().map(|d| d.message.as_str());
        Some(shortened(message.unwrap_or("error")))
    }
}

/// Buffer for the bytes of a reply. The only delimiter of a reply is the end of its JSON object.
///
/// ```
/// use skylib::spp::ReplyBuffer;
/// let mut buffer = ReplyBuffer::default();
/// assert!(buffer.push(br#"{"client_id""#)?.is_none());
/// assert_eq!(buffer.push(b":3}")?.and_then(|reply| reply.client_id), Some(3));
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Default)]
pub struct ReplyBuffer(Vec<u8>);

impl ReplyBuffer {
    /// Maximum length of a reply, in bytes.
    pub const LIMIT: usize = 64 << 10;

    /// Appends received bytes; returns the reply once it is complete.
    ///
    /// # Errors
    /// Returns a description if the bytes are not a reply or exceed the maximum length.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Reply>, String> {
        // Some processes also send the terminating zero byte of the string.
        self.0.extend(bytes.iter().filter(|byte| **byte != 0));
        if self.0.len() > Self::LIMIT {
            return Err("the reply is too long".to_owned());
        }
        // Parsing after each of many small reads would take quadratic time.
        let may_be_whole = self.0.trim_ascii_end().last() == Some(&b'}');
        if self.0.first() == Some(&b'{') && !may_be_whole {
            return Ok(None);
        }
        match Reply::parse(&self.0) {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if error.is_eof() => Ok(None),
            Err(error) => Err(format!("invalid reply: {error}")),
        }
    }

    /// Returns the number of bytes of the reply so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether no byte of the reply has been received.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_arrives_in_pieces_and_is_limited() {
        let text = b"{\"client_id\":\0 3}\0";
        for size in 1..text.len() {
            let mut buffer = ReplyBuffer::default();
            let found = text
                .chunks(size)
                .find_map(|piece| buffer.push(piece).unwrap());
            assert_eq!(found.unwrap().client_id, Some(3), "pieces of {size}");
        }
        let mut buffer = ReplyBuffer::default();
        assert!(buffer.push(&[b' '; ReplyBuffer::LIMIT]).unwrap().is_none());
        assert_eq!(buffer.push(b" ").unwrap_err(), "the reply is too long");
        let invalid = ReplyBuffer::default().push(b"{]}");
        assert!(invalid.unwrap_err().starts_with("invalid reply: "));
        assert!(ReplyBuffer::default().is_empty());
    }

    #[test]
    fn only_an_error_in_the_first_result_is_one() {
        let refusal = |text: &str| Reply::parse(text.as_bytes()).unwrap().refusal();
        let message = r#"{"results":[{"result":"error","error_details":{"message":"Invalid value (command)"}}]}"#;
        assert_eq!(refusal(message).unwrap(), "Invalid value (command)");
        assert_eq!(
            refusal(r#"{"results":[{"result":"error"}]}"#).unwrap(),
            "error"
        );
        for text in [
            "{}",
            r#"{"results":[]}"#,
            r#"{"results":[{"result":"success"},{"result":"error"}]}"#,
        ] {
            assert_eq!(refusal(text), None, "{text}");
        }
    }

    #[test]
    fn an_incomplete_reply_differs_from_an_invalid_one() {
        let whole = br#"{"results":[{"result":"success"}],"info":{"status":"idle"}}"#;
        assert_eq!(
            Reply::parse(whole).unwrap().info.unwrap().get(),
            r#"{"status":"idle"}"#
        );
        for end in 0..whole.len() {
            assert!(Reply::parse(&whole[..end]).unwrap_err().is_eof(), "{end}");
        }
        for text in [&b"nonsense"[..], b"{]", b"[]", b"5", b"{\"results\":5}"] {
            assert!(!Reply::parse(text).unwrap_err().is_eof(), "{text:?}");
        }
    }
}
