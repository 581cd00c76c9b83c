//! `TargetAddresses`: the addresses of the targets of captures, looked up once for each capture.
//!
//! A name is looked up on a helper thread, so that a name server that does not answer delays neither
//! other captures nor the end of the engine. A capture waits for its address like it waits for the
//! compilation of its filter: the reconciler opens it in a later round.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::api::address::ServiceAddress;
use crate::back_off::BackOff;
use crate::sys::name_lookup::{self, Done};
use crate::time::Timestamp;

/// Addresses of the targets of captures, by the id of the capture.
pub(crate) struct TargetAddresses {
    entries: Arc<Mutex<HashMap<String, Entry>>>,
    /// Starts a lookup; replaced in tests.
    look_up: LookUp,
}

type LookUp = fn(&str, u16, Done) -> io::Result<()>;

/// The target of a capture.
struct Entry {
    target: String,
    state: State,
    back_off: BackOff,
    /// Whether the reconciler must be woken at the time of `state`.
    must_wake: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// A helper thread looks up the name until this time at most.
    Pending { until: Timestamp },
    /// Address of the target.
    Known(SocketAddr),
    /// The last lookup has failed; the next one starts at this time at the earliest.
    Failed { error: String, retry_at: Timestamp },
}

impl Default for TargetAddresses {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
            look_up: name_lookup::start,
        }
    }
}

impl TargetAddresses {
    /// Returns the address of the target of a capture. Returns `None` if it is being looked up, and
    /// then calls `found` once on another thread.
    ///
    /// # Errors
    /// Returns the reason why the target has no address.
    pub(super) fn address(
        &self,
        capture: &str,
        target: &str,
        now: Timestamp,
        found: impl FnOnce() + Send + 'static,
    ) -> Option<Result<SocketAddr, String>> {
        let Ok(service) = target.parse::<ServiceAddress>() else {
            return Some(Err(failure(target, "no address")));
        };
        if let Ok(address) = service.host.parse::<IpAddr>() {
            return Some(Ok(SocketAddr::new(address, service.port)));
        }
        let mut entries = self.entries.lock();
        let known = entries.get_mut(capture);
        if let Some(entry) = known.filter(|entry| entry.target == target) {
            entry.expire(now);
            match &entry.state {
                State::Pending { .. } => return None,
                State::Known(address) => return Some(Ok(*address)),
                State::Failed { error, retry_at } => {
                    // A time far in the future was set before the clock was set back.
                    let pause = retry_at.duration_since(now);
                    if now < *retry_at && pause <= MAX_PAUSE {
                        return Some(Err(error.clone()));
                    }
                }
            }
        } else {
            make_room(&mut entries);
            entries.insert(capture.to_owned(), Entry::new(target));
        }
        let entry = entries.get_mut(capture)?;
        entry.state = State::Pending {
            until: now.saturating_add(TIMEOUT),
        };
        entry.must_wake = true;
        let done = self.receiver(capture, target, now, found);
        if let Err(error) = (self.look_up)(&service.host, service.port, done) {
            entry.fail(&error.to_string(), now);
            return entry.error().map(Err);
        }
        None
    }

    /// Returns the function that receives the result of a lookup.
    fn receiver(
        &self,
        capture: &str,
        target: &str,
        started: Timestamp,
        found: impl FnOnce() + Send + 'static,
    ) -> Done {
        let entries = Arc::clone(&self.entries);
        let (capture, target) = (capture.to_owned(), target.to_owned());
        Box::new(move |result| {
            if let Some(entry) = entries.lock().get_mut(&capture)
                && entry.target == target
            {
                entry.set(result, started);
            }
            found();
        })
    }

    /// Removes the targets of captures that have ended.
    pub(super) fn remove<'a>(&self, captures: impl IntoIterator<Item = &'a String>) {
        let mut entries = self.entries.lock();
        for capture in captures {
            entries.remove(capture);
        }
    }

    /// Returns the time at which a lookup has lasted too long or has to be repeated.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let entries = self.entries.lock();
        entries.values().filter_map(Entry::wakes_at).min()
    }

    /// Returns whether a time of [`TargetAddresses::next_wake`] has passed; reports each time once.
    pub(super) fn take_wake(&self, now: Timestamp) -> bool {
        let mut is_due = false;
        for entry in self.entries.lock().values_mut() {
            if entry.wakes_at().is_some_and(|time| time <= now) {
                entry.must_wake = false;
                entry.expire(now);
                is_due = true;
            }
        }
        is_due
    }
}

impl Entry {
    fn new(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            state: State::Pending {
                until: Timestamp::ZERO,
            },
            back_off: BackOff::new(FIRST_PAUSE, MAX_PAUSE),
            must_wake: false,
        }
    }

    /// Stores the result of a lookup that was started at `started`. An address is stored even after
    /// the lookup has expired; an error is then ignored.
    fn set(&mut self, result: io::Result<Vec<SocketAddr>>, started: Timestamp) {
        let found = result.map(|mut found| {
            // Both protocols of targets carry IPv4.
            found.sort_by_key(SocketAddr::is_ipv6);
            found.first().copied()
        });
        match found {
            Ok(Some(address)) => {
                (self.state, self.must_wake) = (State::Known(address), false);
                self.back_off.reset();
            }
            Ok(None) if self.is_pending() => self.fail("no address", started),
            Err(error) if self.is_pending() => self.fail(&error.to_string(), started),
            Ok(None) | Err(_) => {}
        }
    }

    /// Ends a lookup that has lasted too long.
    fn expire(&mut self, now: Timestamp) {
        if let State::Pending { until } = self.state
            && now >= until
        {
            self.fail(
                &format!("no answer of the name servers within {TIMEOUT:?}"),
                now,
            );
        }
    }

    fn fail(&mut self, reason: &str, now: Timestamp) {
        self.state = State::Failed {
            error: failure(&self.target, reason),
            retry_at: now.saturating_add(self.back_off.next(0)),
        };
        self.must_wake = true;
    }

    const fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending { .. })
    }

    fn error(&self) -> Option<String> {
        match &self.state {
            State::Failed { error, .. } => Some(error.clone()),
            State::Pending { .. } | State::Known(_) => None,
        }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Pending { until } if self.must_wake => Some(*until),
            State::Failed { retry_at, .. } if self.must_wake => Some(*retry_at),
            _ => None,
        }
    }
}

/// Removes the entries that no capture waits for if there are too many entries: an analyzer that
/// was lost may have requested captures and never stopped them.
fn make_room(entries: &mut HashMap<String, Entry>) {
    if entries.len() >= MAX_ENTRIES {
        entries.retain(|_, entry| entry.is_pending());
    }
}

fn failure(target: &str, reason: &str) -> String {
    format!("Target: cannot resolve {target}: {reason}")
}

/// Maximum time of a lookup.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Time from the first failed lookup to the next one; doubled after each failure.
const FIRST_PAUSE: Duration = Duration::from_secs(4);

/// Maximum time between two lookups.
const MAX_PAUSE: Duration = Duration::from_secs(120);

/// Number of entries above which those that no capture waits for are removed.
const MAX_ENTRIES: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const START: Timestamp = Timestamp::from_ms(1_000_000);

    fn after(seconds: u64) -> Timestamp {
        START.saturating_add(Duration::from_secs(seconds))
    }

    /// Lookups that were started, to be answered by the test.
    static STARTED: Mutex<Vec<(String, Done)>> = Mutex::new(Vec::new());

    fn targets() -> TargetAddresses {
        TargetAddresses {
            look_up: |host, _, done| {
                STARTED.lock().push((host.to_owned(), done));
                Ok(())
            },
            ..TargetAddresses::default()
        }
    }

    /// Returns the lookups of a host that were started since the last call.
    fn started(host: &str) -> Vec<Done> {
        let mut started = STARTED.lock();
        let own = started.extract_if(.., |(name, _)| name == host);
        own.map(|(_, done)| done).collect()
    }

    fn found(addresses: &[&str]) -> io::Result<Vec<SocketAddr>> {
        Ok(addresses.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn an_address_needs_no_lookup() {
        let targets = TargetAddresses {
            look_up: |_, _, _| panic!("a lookup"),
            ..TargetAddresses::default()
        };
        let address = |target: &str| targets.address("c", target, START, || {});
        assert_eq!(
            address("192.0.2.1:9").unwrap(),
            Ok("192.0.2.1:9".parse().unwrap())
        );
        assert_eq!(
            address("[2001:db8::1]:9").unwrap(),
            Ok("[2001:db8::1]:9".parse().unwrap())
        );
        let error = address("a b").unwrap().unwrap_err();
        assert_eq!(error, "Target: cannot resolve a b: no address");
    }

    #[test]
    fn a_name_is_looked_up_once_for_each_capture() {
        let targets = targets();
        let (send, calls) = mpsc::channel();
        let address = |capture: &str| {
            let send = send.clone();
            let name = capture.to_owned();
            targets.address(capture, "once.example:9", START, move || {
                send.send(name).unwrap();
            })
        };
        assert_eq!(
            (address("a"), address("a"), address("b")),
            (None, None, None)
        );
        let mut lookups = started("once.example");
        assert_eq!(lookups.len(), 2);
        lookups.remove(0)(found(&["[2001:db8::1]:9", "192.0.2.1:9"]));
        assert_eq!(calls.try_recv().unwrap(), "a", "wakes the reconciler");
        let ipv4 = "192.0.2.1:9".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(address("a"), Some(Ok(ipv4)), "for each interface");
        }
        assert!(started("once.example").is_empty());
        targets.remove(&["a".to_owned()]);
        assert_eq!(address("a"), None, "another capture");
        assert_eq!(started("once.example").len(), 1);
        assert_eq!(targets.address("a", "other.example:9", START, || {}), None);
        assert_eq!(started("other.example").len(), 1, "another target");
    }

    #[test]
    fn a_lookup_has_a_deadline_and_is_repeated_with_pauses() {
        let targets = targets();
        let address = |now| targets.address("c", "slow.example:9", now, || {});
        assert_eq!(address(START), None);
        assert_eq!(targets.next_wake(), Some(after(5)));
        assert!(!targets.take_wake(after(4)));
        assert!(targets.take_wake(after(5)));
        let error = address(after(5)).unwrap().unwrap_err();
        let text = "Target: cannot resolve slow.example:9: no answer of the name servers within 5s";
        assert_eq!(error, text);
        assert_eq!(address(after(6)), Some(Err(error)), "during the pause");
        assert_eq!(targets.next_wake(), Some(after(7)));
        assert!(targets.take_wake(after(7)));
        assert_eq!(targets.next_wake(), None, "once");
        assert_eq!(address(after(7)), None);
        let mut lookups = started("slow.example");
        assert_eq!(lookups.len(), 2);
        lookups.remove(1)(Err(io::Error::other("no such name")));
        let error = address(after(8)).unwrap().unwrap_err();
        assert!(error.ends_with("slow.example:9: no such name"), "{error}");
        assert_eq!(targets.next_wake(), Some(after(11)), "a longer pause");
        lookups.remove(0)(found(&["192.0.2.1:9"]));
        assert!(address(after(8)).unwrap().is_ok(), "a late address");
        assert_eq!(targets.next_wake(), None);
    }

    #[test]
    fn a_lookup_that_cannot_start_is_an_error() {
        let targets = TargetAddresses {
            look_up: |_, _, _| Err(io::Error::other("too many")),
            ..TargetAddresses::default()
        };
        let error = targets.address("c", "many.example:9", START, || {});
        let text = "Target: cannot resolve many.example:9: too many";
        assert_eq!(error, Some(Err(text.to_owned())));
        assert_eq!(targets.next_wake(), Some(after(2)));
    }
}
