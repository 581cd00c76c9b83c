//! `Watch`: the watch of one namespace, which receives events, sends requests, and updates the
//! table.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::buffer_pool::BufferPool;
use super::kernel_tables::Routing;
use super::link_state::LinkFacts;
use super::link_table::{EventSource, FollowUp, LinkTable, NamespaceKey};
use super::namespace::{Member, Shared};
use super::neighbor::MAX_ENTRIES;
use super::queue;
use super::route::{MAX_ROUTES, Route, RoutesByLink};
use super::rule::Rule;
use super::socket::{EventSocket, Received, RequestSocket};
use super::wire::NetlinkEvent;
use crate::graph::Graph;
use crate::sys::ethtool::{Ethtool, Features};
use crate::sys::monotonic;
use crate::sys::pci::PciDevice;
use crate::time::Timestamp;
use crate::value::{Map, Text, Value};

/// Sockets of one namespace; a socket belongs to the namespace in which it was created.
#[derive(Debug)]
struct Sockets {
    events: EventSocket,
    requests: RequestSocket,
    ethtool: Ethtool,
}

impl Sockets {
    /// Opens the sockets in the namespace of the calling thread.
    fn open(buffers: &Arc<BufferPool>) -> io::Result<Self> {
        Ok(Self {
            // The event socket is first, so that no change during the initial read is lost.
            events: EventSocket::open(buffers)?,
            requests: RequestSocket::open(buffers)?,
            ethtool: Ethtool::open()?,
        })
    }
}

/// State of the watch of one namespace.
pub(super) struct Watch {
    shared: Arc<Shared>,
    member: Arc<Member>,
    sockets: Sockets,
    /// Time of the next read of the counters; `None` if it is disabled.
    sample_at: Option<Duration>,
    pending: Pending,
    /// Whether there are requests of other threads.
    has_requests: bool,
    /// Number of routes of this namespace at the last read.
    route_count: usize,
    nsids: NsidSearch,
}

/// Work of one iteration of the watch, in addition to the work that is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// Whether the event socket is readable.
    pub(super) events: bool,
    /// Whether there are requests of other threads.
    pub(super) requests: bool,
}

/// Changed tables whose update is delayed, so that a burst of changes costs one update.
#[derive(Debug, Default)]
struct Pending {
    tables: bool,
    routes: bool,
    forwarding: bool,
    /// Time of the update; `None` if nothing has changed.
    due: Option<Duration>,
}

/// State of the search for the namespaces of nsids.
#[derive(Debug, Default)]
struct NsidSearch {
    /// Nsids that none of the first `searched` namespaces has.
    unresolvable: BTreeSet<i32>,
    /// Number of namespaces that were searched.
    searched: u64,
}

impl Watch {
    /// Opens the sockets in the namespace; nothing is read yet.
    pub(super) fn open(shared: &Arc<Shared>, member: &Arc<Member>) -> io::Result<Self> {
        let open = || Sockets::open(&shared.buffers);
        let sockets = if member.is_own {
            open()?
        } else {
            member.netns.run(open)??
        };
        let interval = shared.options.metrics_update;
        Ok(Self {
            shared: Arc::clone(shared),
            member: Arc::clone(member),
            sockets,
            sample_at: (!interval.is_zero()).then(|| monotonic::now() + interval),
            pending: Pending::default(),
            // Requests may be older than the watch.
            has_requests: true,
            route_count: 0,
            nsids: NsidSearch::default(),
        })
    }

    /// Does the work whose time has come, and a bounded part of any other work.
    pub(super) fn turn(&mut self, work: Work) -> io::Result<()> {
        self.has_requests |= work.requests;
        if work.events || self.has_requests {
            // Queued events are older than the replies to the requests that follow.
            let has_more = self.process_events()?;
            if self.has_requests && !has_more {
                self.has_requests = false;
                self.refresh()?;
                self.resolve();
            }
        }
        let now = monotonic::now();
        if self.sample_at.is_some_and(|due| due <= now) {
            self.sample_at = Some(now + self.shared.options.metrics_update);
            self.sample()?;
        }
        if self.pending.due.is_some_and(|due| due <= now) {
            self.update_pending()?;
        }
        Ok(())
    }

    /// Returns the time at which the watch must run next even if no event arrives; `None` if
    /// nothing is scheduled.
    pub(super) fn due(&self) -> Option<Duration> {
        if self.has_requests {
            return Some(Duration::ZERO);
        }
        self.sample_at.into_iter().chain(self.pending.due).min()
    }

    /// Reads the complete state and writes it to the graph.
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
        let mut routing = self.read_routing()?;
        for (index, events) in &mut by_link {
            events.push(NetlinkEvent::RoutesOf(*index, routing.links.remove(index)));
        }
        let follow_up =
            self.update(|table, graph, key, now| table.retain(graph, key, &present, now));
        self.follow_up(follow_up);
        let mut rest = by_link.into_values().peekable();
        while rest.peek().is_some() {
            // Batches limit the time that readers of the graph have to wait.
            let batch: Vec<NetlinkEvent> = rest.by_ref().take(LINKS_AT_ONCE).flatten().collect();
            let facts = &facts;
            let follow_up = self.update(|table, graph, key, now| {
                table.replace_state(graph, key, batch, facts, now)
            });
            self.follow_up(follow_up);
        }
        self.update(|table, graph, key, now| table.show_routing(graph, key, routing, now));
        self.pending = Pending::default();
        self.report_full_tables();
        Ok(())
    }

    /// Applies a batch of queued events; returns whether there may be more.
    fn process_events(&mut self) -> io::Result<bool> {
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

    /// Reads the complete state after events were lost. Queued events are discarded, because they are
    /// older than this state.
    fn recover(&mut self) -> io::Result<()> {
        self.member.context.resynced();
        let mut ignored = Vec::new();
        for _ in 0..DRAIN_LIMIT {
            if self.sockets.events.receive(&mut ignored)? == Received::Empty {
                break;
            }
            ignored.clear();
        }
        self.resync()
    }

    /// Requests the links that a watch has found to be stale.
    fn refresh(&mut self) -> io::Result<()> {
        let links = self.member.take_inbox();
        if links.is_empty() {
            return Ok(());
        }
        let mut events = Vec::new();
        for index in links {
            match self.sockets.requests.link(index)? {
                // A second request would have the same result.
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

    /// Searches the namespaces of the nsids that links of this namespace refer to.
    fn resolve(&mut self) {
        let key = self.member.key;
        let mut wanted = self.shared.table().unresolved(key);
        if wanted.is_empty() {
            return;
        }
        // This is set before the list is read: threads that register later check it.
        self.member.wants_nsids.store(true, Ordering::Relaxed);
        let only_newer = wanted.is_subset(&self.nsids.unresolvable);
        let others = self
            .shared
            .members_after(if only_newer { self.nsids.searched } else { 0 });
        let mut found = Vec::new();
        // The most likely namespaces first: that of the host, and the newest ones.
        let (own, newest) = (others.iter(), others.iter().rev());
        let own = own.filter(|other| other.is_own);
        let candidates = own.chain(newest.filter(|other| !other.is_own));
        for other in candidates.filter(|other| other.key != key) {
            // An nsid that cannot be requested is not fatal.
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
        self.nsids.searched = last.unwrap_or(self.nsids.searched);
        self.member
            .wants_nsids
            .store(!wanted.is_empty(), Ordering::Relaxed);
        self.nsids.unresolvable = wanted;
        let follow_up =
            self.update(|table, graph, key, now| table.set_nsids(graph, key, &found, now));
        self.follow_up(follow_up);
    }

    /// Reads the counters of all links.
    fn sample(&mut self) -> io::Result<()> {
        let samples = match self.sockets.requests.stats() {
            Ok(samples) => samples,
            // Kernels before 4.7 report counters only in link messages.
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
        let queues = queue::by_link(self.sockets.requests.queues());
        self.update(|table, graph, key, now| table.sample(graph, key, &samples, queues, now));
        self.read_silent_changes()
    }

    /// Reads what changes without a message: new names of links that are down, and neighbors without
    /// address resolution.
    fn read_silent_changes(&mut self) -> io::Result<()> {
        let requests = &mut self.sockets.requests;
        // An incomplete list is read again at the next time.
        let links = requests.links().unwrap_or_default();
        let mut events = self.shared.table().renamed(self.member.key, links);
        let neighbors = requests.neighbors()?.into_iter();
        events.extend(neighbors.filter(|event| match event {
            NetlinkEvent::Neighbor(message) => message.is_added_silently(),
            _ => false,
        }));
        let facts = self.facts(&events);
        let follow_up = self.update(|table, graph, key, now| {
            table.apply(graph, key, events, &facts, EventSource::Reply, now)
        });
        self.follow_up(follow_up);
        Ok(())
    }

    /// Updates the changed tables in the graph.
    fn update_pending(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.routes {
            let mut routing = self.read_routing()?;
            let links = std::mem::take(&mut routing.links);
            self.update(|table, graph, key, now| {
                table.set_routes(graph, key, links, now);
                table.show_routing(graph, key, routing, now);
            });
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

    fn read_routing(&mut self) -> io::Result<Routing> {
        let mut routes = RoutesByLink::default();
        let each = |payload: &[u8]| {
            if let Some(route) = Route::parse(payload) {
                routes.add(&route);
            }
        };
        self.sockets.requests.routes(each)?;
        self.route_count = routes.count;
        let text = format!(
            "limit of {MAX_ROUTES} routes per link reached; {} routes are omitted",
            routes.omitted
        );
        self.member
            .problem("routes", (routes.omitted > 0).then_some(text));
        Ok(Routing {
            links: routes.values(),
            without_link: routes.value_without_link(),
            rules: Rule::to_value(&mut self.sockets.requests.rules()),
        })
    }

    fn report_full_tables(&self) {
        let full = self.shared.table().full_tables(self.member.key);
        let text = format!("limit of {MAX_ENTRIES} entries reached by {full} neighbor tables");
        self.member.problem("neighbors", (full > 0).then_some(text));
    }

    /// Schedules the follow-up requests of a change.
    fn follow_up(&mut self, follow_up: FollowUp) {
        self.pending.tables |= follow_up.tables;
        self.pending.routes |= follow_up.routes;
        self.pending.forwarding |= follow_up.forwarding;
        let waiting = self.pending.tables || self.pending.routes || self.pending.forwarding;
        if waiting && self.pending.due.is_none() {
            let delay = DELAY + DELAY_PER_ROUTE * u32::try_from(self.route_count).unwrap_or(0);
            self.pending.due = Some(monotonic::now() + delay.min(DELAY_LIMIT));
        }
        self.shared.dispatch(follow_up);
    }

    /// Runs one graph transaction with the table.
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

    /// Returns the driver facts of the links among the events, by index.
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
        let (driver, bus_info): (Text, Option<Text>) = match ethtool.driver(name) {
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
        let pci = bus_info.as_deref().map(PciDevice::read).unwrap_or_default();
        LinkFacts {
            driver,
            bus_info,
            speed,
            features,
            pci,
        }
    }

    fn feature_value(&mut self, name: &str, set: Features) -> Option<Value> {
        if let Some(value) = self.shared.features().get(&set) {
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
        let mut features = self.shared.features();
        if features.len() < FEATURE_SETS {
            features.insert(set, value.clone());
        }
        Some(value)
    }
}

impl AsFd for Watch {
    /// Returns the descriptor that is readable when there are events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sockets.events.as_fd()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({:?})", self.member)
    }
}

/// Number of links per transaction when all links are read.
const LINKS_AT_ONCE: usize = 128;

/// Number of events per transaction.
const EVENTS_AT_ONCE: usize = 512;

/// Maximum number of datagrams discarded after an overrun; exceeds the buffer of the socket.
const DRAIN_LIMIT: usize = 100_000;

/// Time from a change to a table to its update in the graph.
const DELAY: Duration = Duration::from_millis(200);

/// Additional delay per route: reading a route takes about 2 µs, which must remain a small part of
/// the time of its thread.
const DELAY_PER_ROUTE: Duration = Duration::from_micros(20);

/// Maximum delay.
const DELAY_LIMIT: Duration = Duration::from_secs(20);

/// Maximum number of cached feature sets; a machine has few.
const FEATURE_SETS: usize = 64;
