//! `Lab`: an engine that observes a new network namespace.

use std::time::Duration;

use skylib::api::CaptureSpec;
use skylib::engine::{Collection, Engine, EngineOptions, Role};
use skylib::flow::FlowTableOptions;
use skylib::time::{Clock, SystemClock};

use crate::support::{Sender, add_pair, ip, sender};

/// Timeout of waits; a test that reaches it has failed.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Lab {
    pub(crate) engine: Engine,
    /// Sends frames to `right`.
    pub(crate) left: Sender,
}

impl Lab {
    /// Starts an engine in a namespace with the interfaces `left` and `right`.
    pub(crate) fn new() -> Self {
        Self::with(Self::options())
    }

    /// Returns the settings of an engine that probes links only, and updates flows every second.
    pub(crate) fn options() -> EngineOptions {
        let table = FlowTableOptions::default().with_update_interval(Duration::from_secs(1));
        EngineOptions::new("h")
            .with_role(Role::AllInOne)
            .with_netns_path(None)
            .with_table(table)
    }

    /// Starts an engine with settings in a namespace with the interfaces `left` and `right`.
    pub(crate) fn with(options: EngineOptions) -> Self {
        add_pair();
        ip("link set lo up");
        ip("address add 10.7.0.2/24 dev right");
        let lab = Self {
            engine: Engine::start(options).unwrap(),
            left: sender("left"),
        };
        let up = "G.V().Has('Name', 'right', 'State', 'UP').HasKey('IPV4').Count()";
        wait("the interface", || lab.ask(up) == "1");
        lab
    }

    pub(crate) fn ask(&self, query: &str) -> String {
        let mut json = Vec::new();
        let answer = self.engine.query(query).unwrap();
        answer.write_json(&mut json).unwrap();
        String::from_utf8(json).unwrap()
    }

    /// Starts a capture on `right` and returns the value that it shows under a key.
    pub(crate) fn capture(&self, spec: CaptureSpec, key: &str) -> String {
        self.capture_on("G.V().Has('Name', 'right')", spec, key)
    }

    /// Adds a capture, and returns its identifier.
    pub(crate) fn add(&self, query: &str, spec: CaptureSpec) -> String {
        let spec = spec.with_gremlin_query(query);
        self.engine.captures().add(spec, None).unwrap().uuid.clone()
    }

    /// Starts a capture on the nodes of a query, waits until it is active, and returns the value that
    /// its first node shows under a key.
    pub(crate) fn capture_on(&self, query: &str, spec: CaptureSpec, key: &str) -> String {
        let id = self.add(query, spec);
        let query = format!("G.V().Has('Captures.ID', '{id}', 'Captures.State', 'active')");
        let shown = || self.ask(&format!("{query}.Count()"));
        wait("the capture", || shown() == "1");
        wait("the status", || {
            let status = self.engine.captures().get(&id).unwrap().status.clone();
            let node = &status["Nodes"][0];
            node["State"] == "active"
        });
        let values = self.ask(&format!("{query}.Values('Captures.{key}')"));
        values.trim_matches(['[', ']', '"']).to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

pub(crate) fn wait(what: &str, mut test: impl FnMut() -> bool) {
    let began = SystemClock.now();
    while !test() {
        let waited = SystemClock.now().duration_since(began);
        assert!(waited < TIMEOUT, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
