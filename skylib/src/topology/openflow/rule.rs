//! Rules and groups of OpenFlow, as `ovs-ofctl dump-flows` and `ovs-ofctl dump-groups` print them.

use crate::graph::Metadata;
use crate::value::{Map, Value};

/// A rule of a bridge.
///
/// ```
/// use skylib::topology::openflow::Rule;
///
/// let text = " cookie=0x1f, table=2, priority=7,ip,nw_src=10.0.0.0/8 actions=output:3";
/// let rule = Rule::parse(text).expect("a rule");
/// assert_eq!((rule.table, rule.priority, rule.filter()), (2, 7, "ip,nw_src=10.0.0.0/8".to_owned()));
/// assert_eq!(rule.actions[0].function, "output");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// Cookie as the tool prints it, such as `0x1f`.
    pub cookie: String,
    /// Number of the table.
    pub table: u32,
    /// Priority; rules with higher ones match first.
    pub priority: u32,
    /// Fields that a packet must have.
    pub filters: Vec<Filter>,
    /// Actions on a packet.
    pub actions: Vec<Action>,
}

/// A field that a packet must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Name of the field, or of a protocol.
    pub key: String,
    /// Value; empty for a protocol.
    pub value: String,
    /// Mask; empty if all bits of the value must match.
    pub mask: String,
}

/// An action, or an argument of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Action {
    /// Name of a named argument; empty otherwise.
    pub key: String,
    /// Name of the action, or value of the argument.
    pub function: String,
    /// Arguments; `None` for an empty one.
    pub arguments: Vec<Option<Self>>,
}

impl Rule {
    /// Parses a line; returns `None` if it is not a rule.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (head, actions) = line.split_once("actions=")?;
        let mut rule = Self {
            priority: DEFAULT_PRIORITY,
            actions: parse_actions(actions.trim()),
            ..Self::default()
        };
        let fields = head.split([',', ' ']).filter(|field| !field.is_empty());
        for field in fields {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            match key {
                "cookie" => value.clone_into(&mut rule.cookie),
                "table" => rule.table = value.parse().ok()?,
                "priority" => rule.priority = value.parse().ok()?,
                _ if STATISTICS.contains(&key) => {}
                _ if rule.filters.len() < MAX_ITEMS => rule.filters.push(Filter::new(key, value)),
                _ => {}
            }
        }
        (!rule.cookie.is_empty()).then_some(rule)
    }

    /// Returns the fields as the tool prints them.
    #[must_use]
    pub fn filter(&self) -> String {
        let fields: Vec<String> = self.filters.iter().map(Filter::text).collect();
        fields.join(",")
    }

    pub(super) fn metadata(&self, uuid: &str) -> Metadata {
        let mut metadata = Metadata::from_iter([
            ("Type", "ofrule"),
            ("Cookie", &*self.cookie),
            ("UUID", uuid),
        ]);
        metadata.set("Table", self.table);
        metadata.set("Priority", self.priority);
        metadata.set(
            "Filters",
            Value::list(self.filters.iter().map(Filter::to_map)),
        );
        metadata.set("Actions", actions_value(&self.actions));
        metadata
    }
}

impl Filter {
    fn new(key: &str, value: &str) -> Self {
        let (value, mask) = value.split_once('/').unwrap_or((value, ""));
        Self {
            key: key.to_owned(),
            value: value.to_owned(),
            mask: mask.to_owned(),
        }
    }

    fn text(&self) -> String {
        let Self { key, value, mask } = self;
        match (value.as_str(), mask.as_str()) {
            ("", _) => key.clone(),
            (value, "") => format!("{key}={value}"),
            (value, mask) => format!("{key}={value}/{mask}"),
        }
    }

    fn to_map(&self) -> Map {
        let map = Map::from_iter([("Key", self.key.as_str()), ("Value", &self.value)]);
        match self.mask.as_str() {
            "" => map,
            mask => map.with("Mask", mask),
        }
    }
}

/// A group of a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Number of the group.
    pub id: u32,
    /// Kind of the group, such as `select`.
    pub kind: String,
    /// Further settings, such as the selection method.
    pub meta: Vec<(String, String)>,
    /// Alternatives of the group.
    pub buckets: Vec<Bucket>,
}

/// An alternative of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// Number of the bucket.
    pub id: u32,
    /// Further settings, such as the weight.
    pub meta: Vec<(String, String)>,
    /// Actions on a packet.
    pub actions: Vec<Action>,
}

impl Group {
    /// Parses a line; returns `None` if it is not a group.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.trim().split(",bucket=");
        let mut group = Self::default();
        let mut has_id = false;
        for field in parts.next()?.split(',') {
            match field.split_once('=') {
                Some(("group_id", id)) => {
                    group.id = id.parse().ok()?;
                    has_id = true;
                }
                Some(("type", kind)) => kind.clone_into(&mut group.kind),
                Some((key, value)) => group.meta.push((key.to_owned(), value.to_owned())),
                None => {}
            }
        }
        group.buckets = parts.take(MAX_ITEMS).map(Bucket::parse).collect();
        has_id.then_some(group)
    }

    pub(super) fn metadata(&self, uuid: &str) -> Metadata {
        let mut metadata = Metadata::from_iter([
            ("Type", "ofgroup"),
            ("GroupType", &*self.kind),
            ("UUID", uuid),
        ]);
        metadata.set("GroupId", self.id);
        metadata.set(
            "Buckets",
            Value::list(self.buckets.iter().map(Bucket::to_map)),
        );
        if !self.meta.is_empty() {
            metadata.set("Meta", meta_value(&self.meta));
        }
        metadata
    }
}

impl Bucket {
    fn parse(text: &str) -> Self {
        let (head, actions) = text.split_once("actions=").unwrap_or((text, ""));
        let mut bucket = Self {
            actions: parse_actions(actions),
            ..Self::default()
        };
        for field in head.split(',').filter(|field| !field.is_empty()) {
            match field.split_once(':').unwrap_or((field, "")) {
                ("bucket_id", id) => bucket.id = id.parse().unwrap_or(0),
                (key, value) => bucket.meta.push((key.to_owned(), value.to_owned())),
            }
        }
        bucket
    }

    fn to_map(&self) -> Map {
        let map = Map::from_iter([("Id", self.id)]).with("Actions", actions_value(&self.actions));
        match self.meta.is_empty() {
            true => map,
            false => map.with("Meta", meta_value(&self.meta)),
        }
    }
}

fn meta_value(meta: &[(String, String)]) -> Value {
    let pair =
        |(key, value): &(String, String)| Map::from_iter([("Key", key.as_str()), ("Value", value)]);
    Value::list(meta.iter().map(pair))
}

fn actions_value(actions: &[Action]) -> Value {
    Value::list(actions.iter().map(Action::to_map))
}

impl Action {
    fn to_map(&self) -> Map {
        let mut map = Map::from_iter([("Function", self.function.as_str())]);
        if !self.arguments.is_empty() {
            let arguments = self.arguments.iter().map(|argument| {
                argument
                    .as_ref()
                    .map_or(Value::Null, |action| action.to_map().into())
            });
            map.set("Arguments", Value::list(arguments));
        }
        if !self.key.is_empty() {
            map.set("Key", self.key.as_str());
        }
        map
    }

    /// Parses `name`, `name(arguments)`, `name:argument->argument`, or any of them after `key=`.
    fn parse(text: &str, depth: usize) -> Self {
        let end = text.find(['(', ':']).unwrap_or(text.len());
        let (key, rest) = match text[..end].split_once('=') {
            Some((key, _)) => (key, &text[key.len() + 1..]),
            None => ("", text),
        };
        let end = rest.find(['(', ':']).unwrap_or(rest.len());
        let (function, arguments) = (&rest[..end], &rest[end..]);
        let parse = |argument: &str| {
            let argument = argument.trim();
            (!argument.is_empty() && depth > 0).then(|| Self::parse(argument, depth - 1))
        };
        let value = |argument: &str| {
            let function = argument.trim().to_owned();
            Some(Self {
                function,
                ..Self::default()
            })
        };
        let arguments = match arguments.split_at_checked(1) {
            Some(("(", inner)) => {
                let inner = inner.strip_suffix(')').unwrap_or(inner);
                match inner {
                    "" => Vec::new(),
                    _ => split_outside(inner).map(parse).collect(),
                }
            }
            // The value can contain colons, as in an address.
            Some((":", value_text)) => value_text.split("->").map(value).collect(),
            _ => Vec::new(),
        };
        Self {
            key: key.to_owned(),
            function: function.to_owned(),
            arguments,
        }
    }
}

/// Parses a list of actions.
fn parse_actions(text: &str) -> Vec<Action> {
    let actions = split_outside(text).filter(|action| !action.trim().is_empty());
    actions
        .map(|action| Action::parse(action.trim(), MAX_DEPTH))
        .collect()
}

/// Splits text at the commas that are not within brackets, into at most [`MAX_ITEMS`] parts.
fn split_outside(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    let parts = std::iter::from_fn(move || {
        let current = rest?;
        let mut depth = 0_usize;
        let comma = current.bytes().position(|byte| {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            byte == b',' && depth == 0
        });
        rest = comma.map(|at| &current[at + 1..]);
        Some(&current[..comma.unwrap_or(current.len())])
    });
    parts.take(MAX_ITEMS)
}

/// Fields that are not part of the match.
const STATISTICS: [&str; 13] = [
    "duration",
    "n_packets",
    "n_bytes",
    "idle_age",
    "hard_age",
    "idle_timeout",
    "hard_timeout",
    "importance",
    "send_flow_rem",
    "check_overlap",
    "reset_counts",
    "no_packet_counts",
    "no_byte_counts",
];

/// Priority of a rule that shows none.
const DEFAULT_PRIORITY: u32 = 32_768;

/// Maximum number of parts of one list.
const MAX_ITEMS: usize = 1024;

/// Maximum number of nested actions.
const MAX_DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn actions(text: &str) -> serde_json::Value {
        serde_json::to_value(actions_value(&parse_actions(text))).unwrap()
    }

    #[test]
    fn rules_are_parsed_with_and_without_statistics() {
        let line = " cookie=0x0, duration=5.1s, table=1, n_packets=0, n_bytes=0, idle_age=5, \
                    priority=10,ip,in_port=\"eth0\",nw_src=10.0.0.0/8 actions=resubmit(,2)";
        let rule = Rule::parse(line).unwrap();
        let wanted = json!({"Type": "ofrule", "Cookie": "0x0", "UUID": "u", "Table": 1,
            "Priority": 10, "Filters": [{"Key": "ip", "Value": ""},
            {"Key": "in_port", "Value": "\"eth0\""},
            {"Key": "nw_src", "Value": "10.0.0.0", "Mask": "8"}],
            "Actions": [{"Function": "resubmit", "Arguments": [null, {"Function": "2"}]}]});
        assert_eq!(serde_json::to_value(rule.metadata("u")).unwrap(), wanted);
        let rule = Rule::parse(" cookie=0x5, actions=NORMAL").unwrap();
        assert_eq!(
            (rule.table, rule.priority, rule.filter()),
            (0, 32_768, String::new())
        );
        assert_eq!(Rule::parse("NXST_FLOW reply (xid=0x4):"), None);
        assert_eq!(Rule::parse("cookie=0x0, table=x actions=drop"), None);
        assert_eq!(Rule::parse("actions="), None);
    }

    #[test]
    fn actions_nest() {
        assert_eq!(actions("drop"), json!([{"Function": "drop"}]));
        assert_eq!(
            actions("set_field:02:00:00:00:00:01->eth_dst,output:NXM_NX_REG0[0..15]"),
            json!([
                {"Function": "set_field", "Arguments":
                    [{"Function": "02:00:00:00:00:01"}, {"Function": "eth_dst"}]},
                {"Function": "output", "Arguments": [{"Function": "NXM_NX_REG0[0..15]"}]}
            ])
        );
        assert_eq!(
            actions("ct(commit,zone=1,nat(src=192.0.2.1)),LOCAL"),
            json!([
                {"Function": "ct", "Arguments": [{"Function": "commit"},
                    {"Key": "zone", "Function": "1"},
                    {"Function": "nat", "Arguments": [{"Key": "src", "Function": "192.0.2.1"}]}]},
                {"Function": "LOCAL"}
            ])
        );
        assert_eq!(actions(""), json!([]));
    }

    #[test]
    fn hostile_actions_are_bounded() {
        parse_actions(&"a(".repeat(100_000));
        parse_actions(&")".repeat(1000));
        assert_eq!(parse_actions(&"a,".repeat(5000)).len(), MAX_ITEMS);
        parse_actions("é(=:->é,");
    }

    #[test]
    fn groups_have_buckets() {
        let line = " group_id=7,type=select,selection_method=hash,\
                    bucket=bucket_id:0,weight:100,actions=output:1,\
                    bucket=bucket_id:1,actions=output:2,output:3";
        let group = Group::parse(line).unwrap();
        let output = |port: &str| json!({"Function": "output", "Arguments": [{"Function": port}]});
        let wanted = json!({"Type": "ofgroup", "GroupId": 7, "GroupType": "select", "UUID": "u",
            "Meta": [{"Key": "selection_method", "Value": "hash"}],
            "Buckets": [
                {"Id": 0, "Meta": [{"Key": "weight", "Value": "100"}], "Actions": [output("1")]},
                {"Id": 1, "Actions": [output("2"), output("3")]}]});
        assert_eq!(serde_json::to_value(group.metadata("u")).unwrap(), wanted);
        assert_eq!(
            Group::parse("OFPST_GROUP_DESC reply (OF1.5) (xid=0x2):"),
            None
        );
    }
}
