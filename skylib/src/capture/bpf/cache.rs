//! `BpfCompiler`: compiles packet filters sequentially for each client, and each only once.
//!
//! libpcap cannot be interrupted, so the cost of an expression is limited before it is compiled.
//! Each client compiles one filter at a time, and all clients together compile at most
//! [`MAX_COMPILATIONS`] at the same time, so that one client cannot delay the others; callers that
//! wait can be interrupted. Programs are cached by expression and link type, so that a capture on
//! many interfaces and a query over many packets compile their filter once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{BpfProgram, CaptureError};
use crate::flow::{PacketFilter, PacketFilterCompiler};
use crate::packet::LinkType;

/// Compiler of packet filters with a cache. Clones share the cache and compile for the same client.
///
/// ```
/// use skylib::capture::BpfCompiler;
/// use skylib::flow::PacketFilterCompiler;
/// use skylib::packet::LinkType;
/// let compiler = BpfCompiler::default();
/// let error = compiler.compile("tcp prot 80", LinkType::ETHERNET, &|| false).err();
/// assert!(error.is_some_and(|message| message.contains("syntax error")));
/// ```
#[derive(Clone, Default)]
pub struct BpfCompiler {
    shared: Arc<Shared>,
    /// Name of the client whose filters are compiled; empty for the program itself.
    client: Arc<str>,
}

#[derive(Default)]
struct Shared {
    cache: Mutex<Cache>,
    /// Clients for which libpcap is compiling a filter; at most [`MAX_COMPILATIONS`].
    compiling: Mutex<HashSet<Arc<str>>>,
    /// Signal that wakes the threads that wait for a compilation to end.
    ended: Condvar,
}

/// Permission of a client to compile one filter, released on drop.
struct CompilerSlot<'a>(&'a BpfCompiler);

impl Drop for CompilerSlot<'_> {
    fn drop(&mut self) {
        let BpfCompiler { shared, client } = self.0;
        lock(&shared.compiling).remove(client);
        shared.ended.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Cache {
    /// Compiled filters, which accept whole packets, and the error messages of invalid ones.
    programs: HashMap<Key, Result<BpfProgram, String>>,
    /// Keys of `programs`, oldest first; at most [`MAX_PROGRAMS`] keys.
    order: VecDeque<Key>,
    /// Filters to be compiled by the background thread.
    #[cfg_attr(
        not(feature = "engine"),
        allow(dead_code, reason = "only the engine uses it")
    )]
    requested: VecDeque<Key>,
    /// Whether the background thread is running.
    #[cfg_attr(
        not(feature = "engine"),
        allow(dead_code, reason = "only the engine uses it")
    )]
    is_working: bool,
}

/// Expression and link type of a filter.
type Key = (String, LinkType);

impl BpfCompiler {
    /// Returns a compiler with the same cache for another client. Clients wait for each other only
    /// while four of them compile filters.
    #[must_use]
    pub fn for_client(&self, client: impl Into<Arc<str>>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            client: client.into(),
        }
    }

    /// Compiles a filter, or returns it from the cache; see [`BpfProgram::compile`].
    ///
    /// # Errors
    /// Returns [`CaptureError::Filter`] if the filter is invalid, too expensive, or contains a host
    /// name, or if `is_interrupted` returns `true` while other filters are compiled.
    pub fn program(
        &self,
        text: &str,
        link_type: LinkType,
        snap_len: u32,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<BpfProgram, CaptureError> {
        let key = (text.to_owned(), link_type);
        if let Some(known) = self.cached(&key) {
            return finished(&key, known, snap_len);
        }
        let Some(_slot) = self.compiler_slot(is_interrupted) else {
            return Err(failed(&key, "interrupted".to_owned()));
        };
        // Another thread may have compiled the filter in the meantime.
        let program = self.cached(&key).unwrap_or_else(|| self.compile_now(&key));
        finished(&key, program, snap_len)
    }

    /// Returns a filter if it is in the cache. Otherwise, returns `None`, and a background thread
    /// compiles it and then calls `done`.
    #[cfg_attr(
        not(feature = "engine"),
        allow(dead_code, reason = "only the engine uses it")
    )]
    pub(crate) fn program_or_request(
        &self,
        text: &str,
        link_type: LinkType,
        snap_len: u32,
        done: impl Fn() + Send + 'static,
    ) -> Option<Result<BpfProgram, CaptureError>> {
        let key = (text.to_owned(), link_type);
        if let Some(known) = self.cached(&key) {
            return Some(finished(&key, known, snap_len));
        }
        let mut cache = lock(&self.shared.cache);
        if !cache.requested.contains(&key) {
            cache.requested.push_back(key.clone());
        }
        if cache.is_working {
            return None;
        }
        let compiler = self.clone();
        let thread = std::thread::Builder::new().name("bpf".to_owned());
        match thread.spawn(move || compiler.work(&done)) {
            Ok(_) => {
                cache.is_working = true;
                None
            }
            Err(error) => {
                cache.requested.clear();
                Some(Err(failed(&key, error.to_string())))
            }
        }
    }

    /// Waits until the client may compile a filter; returns `None` if interrupted.
    fn compiler_slot(&self, is_interrupted: &dyn Fn() -> bool) -> Option<CompilerSlot<'_>> {
        let mut compiling = lock(&self.shared.compiling);
        while compiling.len() >= MAX_COMPILATIONS || compiling.contains(&self.client) {
            if is_interrupted() {
                return None;
            }
            let waited = self.shared.ended.wait_timeout(compiling, POLL_INTERVAL);
            compiling = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        compiling.insert(Arc::clone(&self.client));
        Some(CompilerSlot(self))
    }

    /// Compiles all requested filters; the body of the background thread.
    #[cfg_attr(
        not(feature = "engine"),
        allow(dead_code, reason = "only the engine uses it")
    )]
    fn work(&self, done: &dyn Fn()) {
        loop {
            let next = {
                let mut cache = lock(&self.shared.cache);
                let next = cache.requested.front().cloned();
                cache.is_working = next.is_some();
                next
            };
            let Some(key) = next else {
                return;
            };
            if self.cached(&key).is_none() {
                let _slot = self.compiler_slot(&|| false);
                drop(self.compile_now(&key));
            }
            lock(&self.shared.cache).requested.pop_front();
            done();
        }
    }

    fn cached(&self, key: &Key) -> Option<Result<BpfProgram, String>> {
        lock(&self.shared.cache).programs.get(key).cloned()
    }

    /// Compiles a filter and stores the result.
    fn compile_now(&self, key: &Key) -> Result<BpfProgram, String> {
        let compiled = BpfProgram::compile(&key.0, key.1, 0).map_err(message_of);
        let mut cache = lock(&self.shared.cache);
        if cache.order.len() >= MAX_PROGRAMS
            && let Some(oldest) = cache.order.pop_front()
        {
            cache.programs.remove(&oldest);
        }
        cache.programs.insert(key.clone(), compiled.clone());
        cache.order.push_back(key.clone());
        compiled
    }
}

impl PacketFilterCompiler for BpfCompiler {
    fn compile(
        &self,
        text: &str,
        link_type: LinkType,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<Box<dyn PacketFilter>, String> {
        match self.program(text, link_type, 0, is_interrupted) {
            Ok(program) => Ok(Box::new(program)),
            Err(error) => Err(message_of(error)),
        }
    }
}

impl fmt::Debug for BpfCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cache = lock(&self.shared.cache);
        write!(f, "BpfCompiler({} programs)", cache.programs.len())
    }
}

fn finished(
    key: &Key,
    program: Result<BpfProgram, String>,
    snap_len: u32,
) -> Result<BpfProgram, CaptureError> {
    let program = program.map_err(|message| failed(key, message))?;
    Ok(program.with_snap_len(snap_len))
}

fn failed(key: &Key, message: String) -> CaptureError {
    CaptureError::of_filter(&key.0, message)
}

fn message_of(error: CaptureError) -> String {
    match error {
        CaptureError::Filter { message, .. } => message,
        error => error.to_string(),
    }
}

/// Maximum number of filters that are compiled at the same time.
const MAX_COMPILATIONS: usize = 4;
/// Maximum number of programs in the cache.
const MAX_PROGRAMS: usize = 256;
/// Time between two calls to `is_interrupted`.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_filter_is_compiled_once_and_invalid_ones_are_remembered() {
        let compiler = BpfCompiler::default();
        for snap_len in [0, 96] {
            let program = compiler.program("udp", LinkType::ETHERNET, snap_len, &|| false);
            let wanted = BpfProgram::compile("udp", LinkType::ETHERNET, snap_len).unwrap();
            assert_eq!(program.unwrap(), wanted);
        }
        for _ in 0..2 {
            let error = compiler.program("udp prot", LinkType::ETHERNET, 0, &|| false);
            assert!(error.unwrap_err().to_string().contains("syntax error"));
        }
        assert_eq!(format!("{compiler:?}"), "BpfCompiler(2 programs)");
    }

    #[test]
    fn the_cache_is_bounded() {
        let compiler = BpfCompiler::default();
        for port in 0..MAX_PROGRAMS + 10 {
            let text = format!("ip[0] = {}", port % 200);
            let text = format!("{text} and ip[1] = {}", port / 200);
            let program = compiler.program(&text, LinkType::ETHERNET, 0, &|| false);
            program.unwrap();
        }
        let count = lock(&compiler.shared.cache).programs.len();
        assert_eq!(count, MAX_PROGRAMS);
    }

    #[test]
    fn who_waits_for_another_compilation_can_be_interrupted() {
        let compiler = BpfCompiler::default();
        let _slot = compiler.compiler_slot(&|| false);
        let error = compiler.program("udp", LinkType::ETHERNET, 0, &|| true);
        assert!(error.unwrap_err().to_string().contains("interrupted"));
    }

    #[test]
    fn clients_do_not_wait_for_each_other_and_are_limited_together() {
        let compiler = BpfCompiler::default();
        let clients: Vec<BpfCompiler> = (0..=MAX_COMPILATIONS)
            .map(|n| compiler.for_client(n.to_string()))
            .collect();
        let try_slot = |client: usize| clients[client].compiler_slot(&|| true);
        let mut slots: Vec<_> = (0..MAX_COMPILATIONS).map(try_slot).collect();
        assert!(slots.iter().all(Option::is_some));
        assert!(try_slot(0).is_none(), "one filter at a time of a client");
        assert!(try_slot(MAX_COMPILATIONS).is_none(), "a limit for all");
        slots.pop();
        assert!(try_slot(0).is_none());
        assert!(try_slot(MAX_COMPILATIONS).is_some());
        assert_eq!(
            format!("{:?}", clients[0]),
            format!("{compiler:?}"),
            "one cache"
        );
    }

    #[test]
    fn requested_filters_are_compiled_in_the_background() {
        let compiler = BpfCompiler::default();
        let (sender, done) = mpsc::channel();
        let request = |text: &str| {
            let sender = sender.clone();
            let notify = move || sender.send(()).unwrap();
            compiler.program_or_request(text, LinkType::ETHERNET, 64, notify)
        };
        assert!(request("udp").is_none());
        done.recv_timeout(Duration::from_secs(20)).unwrap();
        let wanted = BpfProgram::compile("udp", LinkType::ETHERNET, 64).unwrap();
        assert_eq!(request("udp").unwrap().unwrap(), wanted);
        assert!(request("nonsense (").is_none());
        done.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(request("nonsense (").unwrap().is_err());
    }
}
