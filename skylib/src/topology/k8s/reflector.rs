//! `Reflector`: lists the objects of one kind, then follows their changes.
//!
//! A list is read in pages, and a watch begins at the version of the list. Each event moves the
//! version on, so a watch that ends, which the server causes every few minutes, continues where it
//! was. If the server no longer knows the version (status 410), the list is read again.

use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::client::{ApiClient, ApiError};
use super::event::{ListPage, WatchEvent};
use super::kind::Kind;
use super::object::{KubernetesObject, Mapping};
use crate::graph::NodeId;
use crate::sys::eventfd::EventFd;
use crate::topology::json_frames::JsonFrames;
use crate::topology::probe::wait_for_stop;

/// A message of a reflector to its probe.
#[derive(Debug)]
pub(super) enum Update {
    /// All objects of the kind, and the number of objects that are not shown because they are
    /// malformed or too many.
    Listed(Vec<KubernetesObject>, usize),
    Set(Box<KubernetesObject>),
    Deleted(NodeId),
    /// An object that is malformed.
    Rejected,
    /// The current problem; `None` if the kind is followed again.
    Problem(Option<String>),
    /// The server does not accept the credentials, which may have been replaced.
    Unauthorized(String),
}

/// Follows the objects of one kind.
pub(super) struct Reflector<'a> {
    pub(super) kind: Kind,
    /// Path of the objects in the Kubernetes API.
    pub(super) path: &'static str,
    pub(super) client: &'a ApiClient,
    pub(super) mapping: &'a Mapping,
    /// Raised when the reflector has to end.
    pub(super) stop: &'a EventFd,
    pub(super) updates: Sender<(Kind, Update)>,
    /// Pause after the first failure; doubled with each further one.
    pub(super) pace: Duration,
}

impl Reflector<'_> {
    /// Runs until `stop` is raised.
    pub(super) fn run(&self) {
        let mut failures = 0;
        let mut version = None;
        loop {
            let result = match version.take() {
                None => self.list().map(|listed| (listed, Progress::Listed)),
                Some(from) => self.watch(from),
            };
            failures = match result {
                Ok((next, progress)) => {
                    version = Some(next);
                    match progress {
                        // Only a watch shows that the kind can be followed.
                        Progress::Listed => continue,
                        Progress::Quiet => 1,
                        Progress::Events => 0,
                    }
                }
                Err(failed) => {
                    version = failed.version;
                    // That a version is too old is usual, unless it happens again and again.
                    let is_usual = matches!(failed.error, ApiError::Expired) && failures < 3;
                    if !is_usual && !self.report(&failed.error) {
                        return;
                    }
                    failures + 1
                }
            };
            if self.pause(failures) {
                return;
            }
        }
    }

    /// Waits after a failure; the pause doubles with each successive failure. Returns whether the
    /// reflector must end.
    fn pause(&self, failures: u32) -> bool {
        if failures == 0 {
            return self.stop.is_raised();
        }
        let doublings = (failures - 1).min(MAX_DOUBLINGS);
        wait_for_stop(self.stop, self.pace * 2_u32.pow(doublings))
    }

    /// Reports the reason of a failure; returns whether to continue.
    fn report(&self, error: &ApiError) -> bool {
        let text = error.to_string();
        match error {
            ApiError::Stopped => false,
            ApiError::Unauthorized(_) => {
                self.send(Update::Unauthorized(text));
                false
            }
            _ => self.send(Update::Problem(Some(format!("{}: {text}", self.path)))),
        }
    }

    /// Sends an update; returns `false` if the probe has ended.
    fn send(&self, update: Update) -> bool {
        self.updates.send((self.kind, update)).is_ok()
    }

    /// Reads the list of all objects; returns its version.
    fn list(&self) -> Result<String, Failed> {
        let (mut objects, mut omitted) = (Vec::new(), 0);
        let mut next = String::new();
        loop {
            let path = format!("{}?limit={PAGE}{}", self.path, continuation(&next));
            let body = self.client.get(&path, self.stop.as_fd(), TIMEOUT);
            let body = body.map_err(Failed::at_start)?.read_all(MAX_PAGE_BYTES);
            let body = body.map_err(|error| Failed::at_start(error.into()))?;
            let page = ListPage::parse(&body).map_err(|error| Failed::malformed(&error))?;
            for json in &page.objects {
                match KubernetesObject::parse(self.kind, json, self.mapping) {
                    Ok(object) if objects.len() < MAX_LIST => objects.push(object),
                    _ => omitted += 1,
                }
            }
            if page.next.is_empty() || page.next == next {
                self.send(Update::Listed(objects, omitted));
                return Ok(page.version);
            }
            next = page.next;
            // Endless pages end here; the list that is known then is not complete.
            if objects.len() + omitted > MAX_LISTED {
                let text = format!("the list has more than {MAX_LISTED} objects");
                return Err(Failed::at_start(ApiError::Malformed(text)));
            }
        }
    }

    /// Follows the changes since a version until the watch ends; returns the last version.
    fn watch(&self, mut version: String) -> Result<(String, Progress), Failed> {
        let path = format!(
            "{}?watch=1&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
            self.path,
            WATCH_TIME.as_secs(),
            encoded(&version)
        );
        let body = self
            .client
            .get(&path, self.stop.as_fd(), WATCH_TIME + TIMEOUT);
        let mut body = body.map_err(|error| Failed::at(&version, error))?;
        self.send(Update::Problem(None));
        let mut frames = JsonFrames::new(MAX_EVENT_BYTES);
        let mut buffer = vec![0; 16 << 10];
        let mut progress = Progress::Quiet;
        loop {
            let count = body.read(&mut buffer);
            let count = count.map_err(|error| Failed::at(&version, error.into()))?;
            if count == 0 {
                return Ok((version, progress));
            }
            frames.extend(&buffer[..count]);
            while let Some(frame) = frames.next_frame().map_err(|e| Failed::malformed(&e))? {
                if self.receive(&frame, &mut version)? {
                    progress = Progress::Events;
                }
            }
        }
    }

    /// Processes an event and advances the version; returns whether the type of the event is known.
    fn receive(&self, frame: &[u8], version: &mut String) -> Result<bool, Failed> {
        let event = WatchEvent::parse(frame).map_err(|error| Failed::malformed(&error))?;
        let update = match event {
            None => return Ok(false),
            Some(WatchEvent::Bookmark(next)) => {
                *version = next;
                return Ok(true);
            }
            Some(WatchEvent::Failed { code, message }) => {
                let error = ApiError::of_status(code, &message);
                return Err(Failed::at(version, error));
            }
            Some(WatchEvent::Set(json)) => {
                match KubernetesObject::parse(self.kind, json, self.mapping) {
                    Ok(object) => {
                        version.clone_from(&object.version);
                        Update::Set(Box::new(object))
                    }
                    Err(_) => Update::Rejected,
                }
            }
            Some(WatchEvent::Deleted(json)) => {
                match KubernetesObject::parse(self.kind, json, self.mapping) {
                    Ok(object) => {
                        version.clone_from(&object.version);
                        Update::Deleted(object.id)
                    }
                    Err(_) => Update::Rejected,
                }
            }
        };
        match self.send(update) {
            true => Ok(true),
            false => Err(Failed::at(version, ApiError::Stopped)),
        }
    }
}

/// Result of a list or a watch.
enum Progress {
    Listed,
    /// A watch without events.
    Quiet,
    /// A watch with events.
    Events,
}

/// A failed list or watch.
struct Failed {
    error: ApiError,
    /// Version at which the watch can continue; `None` if the list must be read again.
    version: Option<String>,
}

impl Failed {
    /// Returns a failure after which the list must be read again.
    const fn at_start(error: ApiError) -> Self {
        Self {
            error,
            version: None,
        }
    }

    fn malformed(error: &dyn std::fmt::Display) -> Self {
        Self::at_start(ApiError::Malformed(error.to_string()))
    }

    /// Returns a failure after which the watch continues, unless the version is too old or the
    /// server has rejected the request.
    fn at(version: &str, error: ApiError) -> Self {
        let can_continue = matches!(error, ApiError::Connection(_) | ApiError::Stopped);
        Self {
            error,
            version: can_continue.then(|| version.to_owned()),
        }
    }
}

/// Returns the parameter of a request for the next page.
fn continuation(next: &str) -> String {
    match next {
        "" => String::new(),
        next => format!("&continue={}", encoded(next)),
    }
}

/// Returns text as the value of a parameter of a URL (RFC 3986, section 2.1).
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Number of objects of a page.
const PAGE: usize = 500;

/// Maximum size of a page, in bytes.
const MAX_PAGE_BYTES: u64 = 256 << 20;

/// Maximum number of objects of a kind.
const MAX_LIST: usize = 200_000;

/// Maximum number of objects of a list, including those that are not shown.
const MAX_LISTED: usize = 1_000_000;

/// Maximum size of an event, in bytes; etcd limits objects to 1.5 MiB.
const MAX_EVENT_BYTES: usize = 8 << 20;

/// Maximum time of a pause of the server in a response.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Time after which the server ends a watch.
const WATCH_TIME: Duration = Duration::from_secs(300);

/// Maximum number of times that the pause between two attempts is doubled.
const MAX_DOUBLINGS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded() {
        assert_eq!(encoded("a-1.2_~"), "a-1.2_~");
        assert_eq!(encoded("a&b=c d\u{e9}\n"), "a%26b%3Dc%20d%C3%A9%0A");
        assert_eq!(continuation(""), "");
        assert_eq!(continuation("x="), "&continue=x%3D");
    }

    #[test]
    fn only_a_lost_connection_continues_the_watch() {
        let version = |error| Failed::at("7", error).version;
        assert_eq!(
            version(ApiError::Connection(String::new())).as_deref(),
            Some("7")
        );
        assert_eq!(version(ApiError::Expired), None);
        assert_eq!(version(ApiError::of_status(500, "")), None);
    }
}
