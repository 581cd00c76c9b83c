//! `Activity`: an event of a capture, an alert, a rule, or another resource.

use serde::{Deserialize, Serialize};

use crate::time::{TimeSlice, Timestamp};
use crate::value::{Map, Text, Value};

/// Event of a capture, an alert, a rule, or another resource, which `Changes` lists together with the
/// changes of the graph.
///
/// ```
/// use skylib::graph::history::Activity;
/// use skylib::time::Timestamp;
/// let fired = Activity::new(Timestamp::from_ms(5), "fired", "alert", "a1").with_name("link down");
/// assert_eq!(fired.time(), Timestamp::from_ms(5));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Activity {
    /// Time, in Unix milliseconds.
    #[serde(rename = "Time")]
    pub ms: i64,
    /// Kind of the event: `added`, `changed`, `removed`, `fired`.
    pub change: Text,
    /// Kind of the resource, such as `capture`.
    pub kind: Text,
    /// Identifier of the resource.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Name of the resource; may be empty.
    #[serde(default)]
    pub name: Text,
}

impl Activity {
    /// Returns an event without a name.
    #[must_use]
    pub fn new(
        time: Timestamp,
        change: impl Into<Text>,
        kind: impl Into<Text>,
        id: impl Into<Text>,
    ) -> Self {
        Self {
            ms: time.as_ms(),
            change: change.into(),
            kind: kind.into(),
            id: id.into(),
            name: Text::default(),
        }
    }

    /// Sets the name of the resource.
    #[must_use]
    pub fn with_name(self, name: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// Returns the time.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        Timestamp::from_ms(self.ms)
    }

    /// Returns the event as an object of the query language, as
    /// [`Change::to_value`](super::Change::to_value) does: `Time`, `Change`, `Kind`, `ID`, `Name`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut object = Map::new();
        object.set("Time", self.ms);
        let fields = [
            ("Change", &self.change),
            ("Kind", &self.kind),
            ("ID", &self.id),
            ("Name", &self.name),
        ];
        for (key, text) in fields {
            if !text.is_empty() {
                object.set(key, text.as_str());
            }
        }
        object.into()
    }
}

/// Source of the events of resources.
pub trait ActivitySource: Send + Sync {
    /// Returns the events in a time slice, oldest first.
    fn during(&self, slice: TimeSlice) -> Vec<Activity>;
}
