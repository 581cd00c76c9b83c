//! Steps that several kinds of results have in common.

use super::Traversal;
use super::conditions::Conditions;
use super::markers::{self, Counted, Filtered, FilteredByEither, Paged, Sorted, WithFlows};
use crate::flow::SortOrder;
use crate::gremlin::ast::{Param, Step};
use crate::value::Text;

/// Filters that all results must match.
///
/// ```
/// use skylib::Traversal;
/// use skylib::gremlin::{Conditions, Predicate};
/// let g = Traversal::new;
/// let veth = Conditions::of("Type", "veth").and("MTU", Predicate::lt(1500));
/// for (traversal, text) in [
///     (g().v().has("Type", "veth").to_string(), "G.V().Has('Type', 'veth')"),
///     (g().v().has_all(veth).to_string(), "G.V().Has('Type', 'veth', 'MTU', Lt(1500))"),
///     (g().e().has("MTU", 1500).to_string(), "G.E().Has('MTU', 1500)"),
///     (g().flows().has("Application", "DNS").to_string(), "G.Flows().Has('Application', 'DNS')"),
///     (g().flows().has_all(("Transport", 53)).to_string(), "G.Flows().Has('Transport', 53)"),
///     (
///         g().v().values("Routes").has("Id", 254).to_string(),
///         "G.V().Values('Routes').Has('Id', 254)",
///     ),
///     (
///         g().v().sockets().has("LocalPort", 22).to_string(),
///         "G.V().Sockets().Has('LocalPort', 22)",
///     ),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<K: Filtered, S> Traversal<K, S> {
    /// Selects the results that have a key with a given value, or with a value that satisfies a
    /// predicate (`Has(key, value)`).
    pub fn has(self, key: impl Into<Text>, value: impl Into<Param>) -> Self {
        self.has_all(Conditions::of(key, value))
    }

    /// Selects the results that satisfy all conditions (`Has(key, value, …)`).
    pub fn has_all(self, conditions: impl Into<Conditions>) -> Self {
        self.then(Step::Has(conditions.into().into_params()))
    }
}

/// Filters of which at least one must match (`HasEither`).
///
/// ```
/// use skylib::Traversal;
/// use skylib::gremlin::Conditions;
/// let g = Traversal::new;
/// let either = |key: &str, one: &str, other: &str| Conditions::of(key, one).and(key, other);
/// for (traversal, text) in [
///     (
///         g().v().has_either(either("Type", "veth", "tun")).to_string(),
///         "G.V().HasEither('Type', 'veth', 'Type', 'tun')",
///     ),
///     (
///         g().flows().has_either(either("Application", "DNS", "HTTP")).to_string(),
///         "G.Flows().HasEither('Application', 'DNS', 'Application', 'HTTP')",
///     ),
///     (
///         g().v().sockets().has_either(either("State", "LISTEN", "CLOSE")).to_string(),
///         "G.V().Sockets().HasEither('State', 'LISTEN', 'State', 'CLOSE')",
///     ),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<K: FilteredByEither, S> Traversal<K, S> {
    /// Selects the results that satisfy at least one condition (`HasEither(key, value, …)`).
    pub fn has_either(self, conditions: impl Into<Conditions>) -> Self {
        self.then(Step::HasEither(conditions.into().into_params()))
    }
}

/// Pages of results. A query has at most one page of flows.
///
/// ```
/// use skylib::Traversal;
/// let g = Traversal::new;
/// for (traversal, text) in [
///     (g().v().limit(5).to_string(), "G.V().Limit(5)"),
///     (g().v().range(5, 10).to_string(), "G.V().Range(5, 10)"),
///     (g().flows().limit(10).to_string(), "G.Flows().Limit(10)"),
///     (g().flows().range(10, 20).to_string(), "G.Flows().Range(10, 20)"),
///     (g().v().values("Name").limit(1).to_string(), "G.V().Values('Name').Limit(1)"),
///     (g().v().values("Name").range(1, 2).to_string(), "G.V().Values('Name').Range(1, 2)"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<K: Paged, S> Traversal<K, S> {
    /// Selects the first results, at most `count` (`Limit(count)`).
    ///
    /// Immediately after `v`, `e`, or a walk, the limit applies after the filter that follows it.
    pub fn limit(self, count: u32) -> Self {
        self.then(Step::Limit(count.into()))
    }

    /// Selects the results at positions `from..to`, counted from 0 (`Range(from, to)`).
    pub fn range(self, from: u32, to: u32) -> Self {
        self.then(Step::Range(from.into(), to.into()))
    }
}

/// Number of results.
///
/// ```
/// use skylib::Traversal;
/// let g = Traversal::new;
/// for (traversal, text) in [
///     (g().v().count().to_string(), "G.V().Count()"),
///     (g().flows().count().to_string(), "G.Flows().Count()"),
///     (g().v().values("Name").count().to_string(), "G.V().Values('Name').Count()"),
///     (g().v().metrics().count().to_string(), "G.V().Metrics().Count()"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<K: Counted, S> Traversal<K, S> {
    /// Counts the results (`Count()`); for metrics, the nodes or flows that have metrics.
    pub fn count(self) -> Traversal<markers::Number, S> {
        self.then(Step::Count)
    }
}

/// Order of results.
///
/// ```
/// use skylib::Traversal;
/// let g = Traversal::new;
/// for (traversal, text) in [
///     (g().v().sort().to_string(), "G.V().Sort()"),
///     (g().v().sort_by("Name").to_string(), "G.V().Sort('Name')"),
///     (g().v().sort_desc("MTU").to_string(), "G.V().Sort(DESC, 'MTU')"),
///     (g().flows().sort().to_string(), "G.Flows().Sort()"),
///     (g().flows().sort_by("Start").to_string(), "G.Flows().Sort('Start')"),
///     (
///         g().flows().sort_desc("Metric.ABBytes").to_string(),
///         "G.Flows().Sort(DESC, 'Metric.ABBytes')",
///     ),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<K: Sorted, S> Traversal<K, S> {
    /// Sorts nodes by creation time and flows by the time of their last packet, oldest first
    /// (`Sort()`).
    pub fn sort(self) -> Self {
        self.then(Step::Sort(None, None))
    }

    /// Sorts by a key, smallest value first (`Sort(key)`).
    pub fn sort_by(self, key: impl Into<Text>) -> Self {
        self.then(Step::Sort(None, Some(key.into())))
    }

    /// Sorts by a key, largest value first (`Sort(DESC, key)`).
    pub fn sort_desc(self, key: impl Into<Text>) -> Self {
        self.then(Step::Sort(Some(SortOrder::Descending), Some(key.into())))
    }
}

/// Flows of the graph or of nodes.
///
/// ```
/// use skylib::Traversal;
/// let g = Traversal::new;
/// let path = || g().v_id("a").shortest_path_to(("Name", "b"));
/// let path_text = "G.V('a').ShortestPathTo(Metadata('Name', 'b'))";
/// assert_eq!(g().flows().to_string(), "G.Flows()");
/// assert_eq!(
///     g().flows_where(("Application", "DNS")).to_string(),
///     "G.Flows('Application', 'DNS')"
/// );
/// assert_eq!(g().v().flows().to_string(), "G.V().Flows()");
/// assert_eq!(g().v().flows_where(("Transport", 80)).to_string(), "G.V().Flows('Transport', 80)");
/// assert_eq!(path().flows().to_string(), format!("{path_text}.Flows()"));
/// ```
impl<K: WithFlows, S> Traversal<K, S> {
    /// Moves to all flows (after [`Traversal::new`]), or to the flows captured on the nodes
    /// (`Flows()`).
    pub fn flows(self) -> Traversal<markers::Flows, S> {
        self.then(Step::Flows(Vec::new()))
    }

    /// Moves to the flows that satisfy all conditions (`Flows(key, value, …)`).
    pub fn flows_where(self, conditions: impl Into<Conditions>) -> Traversal<markers::Flows, S> {
        self.then(Step::Flows(conditions.into().into_params()))
    }
}
