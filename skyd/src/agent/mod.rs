//! The role of an agent: connections to the configured analyzers.
//!
//! ```text
//! analyzers ─ link 0 ─ session: Sync, changes ▶  ◀ captures, flow queries   (the master)
//!           │        └ flow sender: flows ▶
//!           └ link 1 ─ session:                  ◀ captures, flow queries
//!                    └ flow sender: flows ▶
//! ```

mod flow_sender;
mod session;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skylib::api::address::ServiceAddress;
use skylib::back_off::BackOff;
use skylib::engine::{Engine, Mastership};
use tokio::sync::watch;

use crate::app::App;
use crate::dial::Dialer;
use crate::outgoing::Outgoing;

/// Settings of the connections to the analyzers.
pub(crate) struct AnalyzerOptions {
    pub(crate) analyzers: Vec<ServiceAddress>,
    pub(crate) dialer: Dialer,
    /// Whether flows are sent over WebSocket; otherwise as UDP datagrams.
    pub(crate) flows_over_websocket: bool,
    /// Maximum time without any frame of an analyzer, which pings regularly.
    pub(crate) silence: Duration,
}

/// State that the connections to the analyzers share.
struct Analyzers {
    app: Arc<App>,
    options: AnalyzerOptions,
    mastership: Mutex<Mastership>,
    /// The analyzer that receives the graph.
    master: watch::Sender<Option<usize>>,
    outgoing: Outgoing,
}

/// Connects to all analyzers and stays connected until `stop` is set.
pub(crate) fn start(app: &Arc<App>, options: AnalyzerOptions, stop: &watch::Receiver<bool>) {
    let analyzers = Arc::new(Analyzers {
        outgoing: app.outgoing.clone(),
        app: Arc::clone(app),
        options,
        mastership: Mutex::default(),
        master: watch::Sender::new(None),
    });
    for address in &analyzers.options.analyzers {
        let index = analyzers.outgoing.add("agent", "protobuf", address);
        let (analyzers, address) = (Arc::clone(&analyzers), address.clone());
        let mut stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = link(&analyzers, index, &address) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }
}

/// Connects to one analyzer, and reconnects whenever the connection ends.
async fn link(analyzers: &Arc<Analyzers>, index: usize, address: &ServiceAddress) {
    let mut back_off = BackOff::new(FIRST_WAIT, MAX_WAIT);
    let mut last_reason = String::new();
    loop {
        let reason = match session::open(analyzers, address).await {
            Ok((socket, server)) => {
                tracing::info!(analyzer = server.host, %address, "connected to the analyzer");
                back_off.reset();
                analyzers
                    .outgoing
                    .set_connected(index, &server.host, &server.service);
                analyzers.connected(index);
                let end = session::run(analyzers, index, address, socket, &server).await;
                analyzers.lost(index);
                tracing::warn!(analyzer = server.host, %address, reason = %end, "lost the connection to the analyzer; reconnecting");
                last_reason.clear();
                end
            }
            Err(error) => format!("{error:#}"),
        };
        analyzers.outgoing.set_closed(index, &reason);
        // The same reason is not logged for every attempt.
        if reason != last_reason {
            tracing::warn!(%address, reason, "not connected to the analyzer; retrying");
            last_reason = reason;
        }
        tokio::time::sleep(back_off.next(random())).await;
    }
}

impl Analyzers {
    fn engine(&self) -> &Engine {
        &self.app.engine
    }

    fn connected(&self, index: usize) {
        let new = self.elect(|mastership| mastership.connected(index));
        self.announce(new);
    }

    fn lost(&self, index: usize) {
        let choice = usize::try_from(random() >> 1).unwrap_or_default();
        let new = self.elect(|mastership| mastership.lost(index, choice));
        self.announce(new);
    }

    fn elect<T>(&self, change: impl FnOnce(&mut Mastership) -> T) -> Option<usize> {
        let mut mastership = self
            .mastership
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut mastership);
        mastership.master()
    }

    fn announce(&self, master: Option<usize>) {
        self.outgoing.set_master(master);
        self.master.send_replace(master);
    }
}

/// Returns a random number.
fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Maximum time between two attempts: the graph must be complete soon after an analyzer returns.
const MAX_WAIT: Duration = Duration::from_secs(2);
