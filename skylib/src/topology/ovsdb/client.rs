//! Transactions on an OVSDB server (RFC 7047 section 4.1.3).

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::tables::DATABASE;
use crate::sys::timerfd::TimerFd;
use crate::topology::ServerAddress;
use crate::topology::json_frames::JsonFrames;
use crate::topology::stream::Stream;

/// Runs a transaction on a separate connection, and returns the result of each operation.
///
/// # Errors
/// Returns an error if the server does not answer within [`TIMEOUT`], or rejects an operation: then
/// nothing has changed.
pub(super) fn transact(address: &ServerAddress, operations: &[Json]) -> io::Result<Vec<Json>> {
    let deadline = TimerFd::new()?;
    deadline.once(TIMEOUT)?;
    exchange(address, operations, deadline.as_fd()).map_err(|error| match deadline.clear() {
        true => {
            let text = format!("the OVSDB server does not answer within {TIMEOUT:?}");
            io::Error::new(io::ErrorKind::TimedOut, text)
        }
        false => error,
    })
}

/// Sends a transaction, and receives its result until `deadline` becomes readable.
fn exchange(
    address: &ServerAddress,
    operations: &[Json],
    deadline: BorrowedFd<'_>,
) -> io::Result<Vec<Json>> {
    let mut stream = Stream::connect(address, deadline, None)?;
    let mut params = vec![Json::from(DATABASE)];
    params.extend_from_slice(operations);
    let request = json!({"method": "transact", "params": params, "id": TRANSACTION});
    stream.write_all(request.to_string().as_bytes())?;
    let mut frames = JsonFrames::new(MAX_REPLY);
    let mut buffer = vec![0; 16 << 10];
    loop {
        while let Some(frame) = frames.next_frame().map_err(io::Error::other)? {
            let reply: Json = serde_json::from_slice(&frame).map_err(io::Error::other)?;
            if reply.get("id").and_then(Json::as_str) == Some(TRANSACTION) {
                return results(&reply);
            }
        }
        match stream.read(&mut buffer)? {
            0 => {
                return Err(io::Error::other(
                    "the OVSDB server has closed the connection",
                ));
            }
            count => frames.extend(&buffer[..count]),
        }
    }
}

/// Returns the results of the operations, or the first error.
fn results(reply: &Json) -> io::Result<Vec<Json>> {
    let results = reply.get("result").and_then(Json::as_array);
    let parts = results.into_iter().flatten();
    let errors = std::iter::once(reply.get("error")).chain(parts.map(|part| part.get("error")));
    if let Some(error) = errors.flatten().find(|error| !error.is_null()) {
        let failed = results
            .into_iter()
            .flatten()
            .find(|part| part.get("error") == Some(error));
        let details = failed.and_then(|part| part.get("details")?.as_str());
        let text = error
            .as_str()
            .map_or_else(|| error.to_string(), str::to_owned);
        let details = details
            .map(|details| format!(": {details}"))
            .unwrap_or_default();
        let text = format!("the OVSDB server rejects the transaction: {text}{details}");
        return Err(io::Error::other(text));
    }
    let missing = || io::Error::other("the OVSDB server has sent a reply without results");
    Ok(results.ok_or_else(missing)?.clone())
}

/// Identifier of the request.
const TRANSACTION: &str = "transaction";

/// Maximum time until the server answers.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum size of a reply, in bytes.
const MAX_REPLY: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_answers_too_slowly_ends_the_transaction() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                // Each byte arrives in time, but the reply never ends.
                while stream.write_all(b" ").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let error = transact(&address, &[]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
            server.join().unwrap();
        });
    }

    #[test]
    fn errors_of_operations_are_errors() {
        let reply = |text: &str| results(&serde_json::from_str(text).unwrap());
        assert_eq!(
            reply(r#"{"result":[{},{"count":1}],"error":null}"#)
                .unwrap()
                .len(),
            2
        );
        let error = reply(r#"{"result":[{},{"error":"timed out","details":"wait"}],"error":null}"#);
        let text = "the OVSDB server rejects the transaction: timed out: wait";
        assert_eq!(error.unwrap_err().to_string(), text);
        let error = reply(r#"{"result":null,"error":"unknown database"}"#).unwrap_err();
        assert!(error.to_string().ends_with("unknown database"), "{error}");
        assert!(reply("{}").is_err());
    }
}
