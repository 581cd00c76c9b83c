//! Requests of the shell and of its scripts to the server.

use std::cell::RefCell;
use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use skylib::engine::ScriptHost;
use skylib::time::{Clock, SystemClock, Timestamp};
use tokio::runtime::Runtime;

use super::super::command::print_result;
use super::super::failure;
use super::super::format::Format;
use super::super::http::Call;
use super::super::printer::Printer;
use super::super::rest::{MAX_VALUE_BYTES, Rest};

/// Client of the server for synchronous code: each call waits for the response.
pub(super) struct Server {
    rest: RefCell<Rest>,
    runtime: Runtime,
    /// Metadata keys of the graph, with the time of their request.
    keys: RefCell<Option<(Timestamp, Vec<String>)>>,
}

impl Server {
    /// Creates a server; `runtime` must not be running.
    pub(super) const fn new(rest: Rest, runtime: Runtime) -> Self {
        Self {
            rest: RefCell::new(rest),
            runtime,
            keys: RefCell::new(None),
        }
    }

    /// Runs a query and prints its result.
    ///
    /// # Errors
    /// Returns an error if the query fails, the server cannot be reached, or the output cannot be
    /// written.
    pub(super) fn print_result(&self, gremlin: &str) -> anyhow::Result<()> {
        let rest = &mut *self.rest.borrow_mut();
        let result = self.runtime.block_on(print_result(gremlin, None, rest));
        rest.0.disconnect();
        result
    }

    /// Returns the metadata keys of the graph; none if the server does not answer.
    pub(super) fn keys(&self) -> Vec<String> {
        if let Some((time, keys)) = &*self.keys.borrow()
            && SystemClock.now().duration_since(*time) < KEYS_AGE
        {
            return keys.clone();
        }
        let keys = self.request_keys();
        self.keys.replace(Some((SystemClock.now(), keys.clone())));
        keys
    }

    fn request_keys(&self) -> Vec<String> {
        let rest = &mut *self.rest.borrow_mut();
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(KEYS_TIMEOUT, rest.query_value("G.V().Keys()")).await
        });
        rest.0.disconnect();
        let Ok(Ok(Value::Array(keys))) = answer else {
            return Vec::new();
        };
        keys.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }
}

impl ScriptHost for Server {
    fn send(&self, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
        let call = Call::new(method, path).with_json(body.to_owned());
        let rest = &mut *self.rest.borrow_mut();
        let answer = self.runtime.block_on(async {
            let mut answer = rest.0.send(call).await?;
            let text = answer.text(MAX_VALUE_BYTES).await?;
            // The server ends JSON with a line break, which is not part of the value.
            let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
            anyhow::Ok((answer.status.as_u16(), text))
        });
        // A connection without a task that watches it would end unnoticed between two lines.
        rest.0.disconnect();
        answer.map_err(|error| format!("{error:#}"))
    }

    fn print(&self, line: &str) {
        if let Err(error) = Printer::to_stdout(Format::Json).print_line(line) {
            failure::print(&error);
        }
    }
}

/// Time for which metadata keys are cached.
const KEYS_AGE: Duration = Duration::from_secs(60);
/// Maximum time to wait for the metadata keys; meanwhile the user waits for a completion.
const KEYS_TIMEOUT: Duration = Duration::from_secs(2);
