//! The thread of one namespace: hears of changes, asks what they leave open, tells the table.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::link_state::LinkFacts;
use super::link_table::{EventSource, FollowUp, LinkTable, NamespaceKey};
use super::namespace::{Member, Shared};
use super::neighbor::MAX_ENTRIES;
use super::route::{MAX_ROUTES, Route, RoutesByLink};
use super::socket::{EventSocket, Received, RequestSocket};
use super::wire::NetlinkEvent;
use crate::graph::Graph;
use crate::sys::ethtool::{Ethtool, Features};
use crate::sys::eventfd::{EventFd, wait_readable};
use crate::sys::timerfd::TimerFd;
use crate::time::Timestamp;
use crate::value::{Map, Text, Value};

/// The sockets of one namespace. Made inside it, they stay there.
#[derive(Debug)]
pub(super) struct Sockets {
    events: EventSocket,
    requests: RequestSocket,
    ethtool: Ethtool,
}

impl Sockets {
    /// Opens them in the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            // First, so that nothing happens unheard while the rest is read.
            events: EventSocket::open()?,
            requests: RequestSocket::open()?,
            ethtool: Ethtool::open()?,
        })
    }
}

/// What the thread of one namespace works with.
pub(super) struct Worker<'a> {
    shared: &'a Shared,
    member: Arc<Member>,
    sockets: Sockets,
    /// Due when the counters are to be read.
    sampling: TimerFd,
    /// Due when tables that changed are to be shown.
    delay: TimerFd,
    pending: Pending,
    /// Routes of this namespace when they were last read.
    route_count: usize,
    nsids: NsidSearch,
    /// Equal sets of features are one value.
    features: HashMap<Features, Value>,
}

/// Changes that wait a little so that many of them cost as much as one.
#[derive(Debug, Default)]
struct Pending {
    tables: bool,
    routes: bool,
    forwarding: bool,
    is_set: bool,
}

/// Whom we have asked for which number.
#[derive(Debug, Default)]
struct NsidSearch {
    /// Numbers that none of the first `asked` namespaces has.
    hopeless: BTreeSet<i32>,
    asked: u64,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        member: Arc<Member>,
        sockets: Sockets,
    ) -> io::Result<Self> {
        let (sampling, delay) = (TimerFd::new()?, TimerFd::new()?);
        sampling.every(shared.options.metrics_update)?;
        Ok(Self {
            shared,
            member,
            sockets,
            sampling,
            delay,
            pending: Pending::default(),
            route_count: 0,
            nsids: NsidSearch::default(),
            features: HashMap::new(),
        })
    }

    /// Reads the whole state and shows it.
    pub(super) fn resync(&mut self) -> io::Result<()> {
        let requests = &mut self.sockets.requests;
        let mut by_link: BTreeMap<u32, Vec<NetlinkEvent>> = BTreeMap::new();
        let links = requests.links()?;
        let facts = self.facts(&links);
        for event in links {
            if let NetlinkEvent::Link(link) = &event {
                by_link.entry(link.index).or_default().push(event);
            }
        }
        let present: HashSet<u32> = by_link.keys().copied().collect();
        let requests = &mut self.sockets.requests;
        let mut details = requests.addresses()?;
        details.extend(requests.neighbors()?);
        // Without bridge support in the kernel there are no forwarding entries.
        details.extend(requests.forwarding().unwrap_or_default());
        for event in details {
            let index = match &event {
                NetlinkEvent::Address(message) => message.index,
                NetlinkEvent::Neighbor(message) => message.index,
                _ => continue,
            };
            by_link.entry(index).or_default().push(event);
        }
        let mut routes = self.read_routes()?;
        for (index, events) in &mut by_link {
            events.push(NetlinkEvent::RoutesOf(*index, routes.remove(index)));
        }
        let follow_up =
            self.update(|table, graph, key, now| table.retain(graph, key, &present, now));
        self.follow_up(follow_up);
        let mut rest = by_link.into_values().peekable();
        while rest.peek().is_some() {
            // In stretches, so that readers of the graph get their turn.
            let batch: Vec<NetlinkEvent> = rest.by_ref().take(LINKS_AT_ONCE).flatten().collect();
            let facts = &facts;
            let follow_up =
                self.update(|table, graph, key, now| table.restate(graph, key, batch, facts, now));
            self.follow_up(follow_up);
        }
        self.pending = Pending::default();
        self.report_full_tables();
        Ok(())
    }

    /// Follows what happens until told to stop.
    pub(super) fn run(&mut self, stop: &EventFd) -> io::Result<()> {
        loop {
            let [stopped, woken, heard, sampling, delay] = wait_readable([
                stop.as_fd(),
                self.member.wake.as_fd(),
                self.sockets.events.as_fd(),
                self.sampling.as_fd(),
                self.delay.as_fd(),
            ])?;
            if stopped {
                return Ok(());
            }
            if heard {
                self.listen()?;
            }
            if woken {
                self.member.wake.clear();
                // What is still waiting is older than the answers we are about to get.
                while self.listen()? {}
                self.refresh()?;
                self.resolve();
            }
            if sampling {
                self.sampling.clear();
                self.sample()?;
            }
            if delay {
                self.delay.clear();
                self.show_pending()?;
            }
        }
    }

    /// Reads some of what is waiting and shows it; tells whether there may be more.
    fn listen(&mut self) -> io::Result<bool> {
        let mut events = Vec::new();
        while events.len() < EVENTS_AT_ONCE {
            match self.sockets.events.receive(&mut events)? {
                Received::Events => {}
                Received::Empty => break,
                Received::Overrun => return self.recover().map(|()| false),
            }
        }
        if events.is_empty() {
            return Ok(false);
        }
        let is_full = events.len() >= EVENTS_AT_ONCE;
        let facts = self.facts(&events);
        let follow_up = self.update(|table, graph, key, now| {
            table.apply(graph, key, events, &facts, EventSource::Notification, now)
        });
        self.follow_up(follow_up);
        Ok(is_full)
    }

    /// Events were lost: what is left of them is older than the state we read now.
    fn recover(&mut self) -> io::Result<()> {
        let mut ignored = Vec::new();
        for _ in 0..DRAIN_LIMIT {
            if self.sockets.events.receive(&mut ignored)? == Received::Empty {
                break;
            }
            ignored.clear();
        }
        self.resync()
    }

    /// Asks for the links that somebody found stale.
    fn refresh(&mut self) -> io::Result<()> {
        let links = self.member.take_inbox();
        if links.is_empty() {
            return Ok(());
        }
        let mut events = Vec::new();
        for index in links {
            match self.sockets.requests.link(index)? {
                // Asking again would give the same.
                Some(NetlinkEvent::LinkStale(_)) => {}
                event => events.push(event.unwrap_or(NetlinkEvent::LinkDeleted(index))),
            }
        }
        let facts = self.facts(&events);
        let follow_up = self.update(|table, graph, key, now| {
            table.apply(graph, key, events, &facts, EventSource::Reply, now)
        });
        self.follow_up(follow_up);
        Ok(())
    }

    /// Finds out which namespaces the numbers stand for that our links point to.
    fn resolve(&mut self) {
        let key = self.member.key;
        let mut wanted = self.shared.table().unresolved(key);
        if wanted.is_empty() {
            return;
        }
        // Before looking who is there: who comes later looks at this.
        self.member.wants_nsids.store(true, Ordering::Relaxed);
        let only_newer = wanted.is_subset(&self.nsids.hopeless);
        let others = self
            .shared
            .members_after(if only_newer { self.nsids.asked } else { 0 });
        let mut found = Vec::new();
        // The newest first: it is most likely the reason for asking.
        for other in others.iter().rev().filter(|other| other.key != key) {
            // A number that cannot be had today is no reason to stop.
            let Ok(Some(id)) = self.sockets.requests.nsid(other.netns.as_fd()) else {
                continue;
            };
            found.push((id, other.key));
            wanted.remove(&id);
            if wanted.is_empty() {
                break;
            }
        }
        let last = others
            .last()
            .map(|other| other.arrival.load(Ordering::Relaxed));
        self.nsids.asked = last.unwrap_or(self.nsids.asked);
        self.member
            .wants_nsids
            .store(!wanted.is_empty(), Ordering::Relaxed);
        self.nsids.hopeless = wanted;
        let follow_up =
            self.update(|table, graph, key, now| table.set_nsids(graph, key, &found, now));
        self.follow_up(follow_up);
    }

    fn sample(&mut self) -> io::Result<()> {
        let samples = match self.sockets.requests.stats() {
            Ok(samples) => samples,
            // Kernels before 4.7 tell counters only with everything else.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                let links = self.sockets.requests.links()?;
                let stats = |event| match event {
                    NetlinkEvent::Link(link) => Some((link.index, link.stats?)),
                    _ => None,
                };
                links.into_iter().filter_map(stats).collect()
            }
            Err(error) => return Err(error),
        };
        self.update(|table, graph, key, now| table.sample(graph, key, &samples, now));
        Ok(())
    }

    fn show_pending(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.routes {
            let routes = self.read_routes()?;
            self.update(|table, graph, key, now| table.set_routes(graph, key, routes, now));
        }
        if pending.forwarding {
            let entries = self.sockets.requests.forwarding().unwrap_or_default();
            self.update(|table, graph, key, now| table.set_forwarding(graph, key, &entries, now));
        }
        if pending.tables {
            self.update(|table, graph, key, now| table.show_tables(graph, key, now));
        }
        self.report_full_tables();
        Ok(())
    }

    fn read_routes(&mut self) -> io::Result<HashMap<u32, Value>> {
        let mut routes = RoutesByLink::default();
        let mut each = |payload: &[u8]| {
            if let Some(route) = Route::parse(payload) {
                routes.add(&route);
            }
        };
        self.sockets.requests.routes(&mut each)?;
        self.route_count = routes.count;
        let text = format!(
            "{} routes are not shown, {MAX_ROUTES} a link are",
            routes.left_out
        );
        self.member
            .problem("routes", (routes.left_out > 0).then_some(text));
        Ok(routes.into_values())
    }

    fn report_full_tables(&self) {
        let full = self.shared.table().full_tables(self.member.key);
        let text = format!("{full} neighbour tables are shown up to {MAX_ENTRIES} entries");
        self.member.problem("neighbors", (full > 0).then_some(text));
    }

    /// Hands out what a change has left open.
    fn follow_up(&mut self, follow_up: FollowUp) {
        self.pending.tables |= follow_up.tables;
        self.pending.routes |= follow_up.routes;
        self.pending.forwarding |= follow_up.forwarding;
        let waiting = self.pending.tables || self.pending.routes || self.pending.forwarding;
        if waiting && !self.pending.is_set {
            let delay = DELAY + DELAY_PER_ROUTE * u32::try_from(self.route_count).unwrap_or(0);
            // Without a timer the tables would stay old; show them with the next one.
            self.pending.is_set = self.delay.once(delay.min(DELAY_LIMIT)).is_ok();
        }
        self.shared.dispatch(follow_up);
    }

    fn update<T>(
        &self,
        work: impl FnOnce(&mut LinkTable, &mut Graph, NamespaceKey, Timestamp) -> T,
    ) -> T
    where
        T: Default,
    {
        let key = self.member.key;
        let done = self
            .shared
            .target
            .update(|graph, now| work(&mut self.shared.table(), graph, key, now));
        done.unwrap_or_default()
    }

    /// What the drivers tell about the links among the events.
    fn facts(&mut self, events: &[NetlinkEvent]) -> HashMap<u32, LinkFacts> {
        let mut names: HashMap<u32, &Text> = HashMap::new();
        for event in events {
            match event {
                NetlinkEvent::Link(link) => {
                    names.insert(link.index, &link.name);
                }
                NetlinkEvent::LinkDeleted(index) => {
                    names.remove(index);
                }
                _ => {}
            }
        }
        names
            .into_iter()
            .map(|(index, name)| (index, self.facts_of(name)))
            .collect()
    }

    fn facts_of(&mut self, name: &str) -> LinkFacts {
        let ethtool = &self.sockets.ethtool;
        let (driver, bus_info) = match ethtool.driver(name) {
            Ok(driver) => (driver.name.into(), Some(driver.bus_info.into())),
            Err(_) => (Text::default(), None),
        };
        let speed = ethtool.speed(name).ok().flatten();
        let features = if driver.is_empty() {
            None
        } else {
            ethtool
                .features(name)
                .ok()
                .and_then(|set| self.feature_value(name, set))
        };
        LinkFacts {
            driver,
            bus_info,
            speed,
            features,
        }
    }

    fn feature_value(&mut self, name: &str, set: Features) -> Option<Value> {
        if let Some(value) = self.features.get(&set) {
            return Some(value.clone());
        }
        let names = self.sockets.ethtool.feature_names(name).ok()?;
        let named = names
            .iter()
            .enumerate()
            .filter(|(_, name)| !name.is_empty());
        let map: Map = named
            .map(|(i, name)| (name.clone(), set.is_active(i)))
            .collect();
        let value = Value::from(map);
        if self.features.len() < FEATURE_SETS {
            self.features.insert(set, value.clone());
        }
        Some(value)
    }
}

/// Links shown in one transaction when all are read.
const LINKS_AT_ONCE: usize = 128;

/// Events shown in one transaction.
const EVENTS_AT_ONCE: usize = 512;

/// Datagrams thrown away after an overrun; more than the socket holds.
const DRAIN_LIMIT: usize = 100_000;

/// How long changed tables wait for more changes.
const DELAY: Duration = Duration::from_millis(200);

/// Reading many routes takes long (some 2 µs each); doing so must stay a small part of our time.
const DELAY_PER_ROUTE: Duration = Duration::from_micros(20);

const DELAY_LIMIT: Duration = Duration::from_secs(20);

/// Sets of features remembered; machines have a handful.
const FEATURE_SETS: usize = 64;
