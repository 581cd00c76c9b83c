//! `Changes`: the changes in a time slice, as objects.

use crate::graph::history::{ActivitySource, Change, History};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::unread;
use crate::time::TimeSlice;
use crate::value::Value;

/// Returns the changes to the graph, captures, alerts, and rules in a time slice, oldest first.
///
/// # Errors
/// Returns an error if the query is interrupted or exceeds a limit.
pub(in crate::gremlin) fn during(
    history: &dyn History,
    activities: Option<&dyn ActivitySource>,
    slice: TimeSlice,
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let changes = Change::during(history, slice, budget).map_err(|error| unread(&error))?;
    budget.check()?;
    let activities = activities.map_or_else(Vec::new, |source| source.during(slice));
    let mut room = budget.room();
    let mut found = Vec::with_capacity(changes.len() + activities.len());
    let mut add = |value: Value| {
        room.add(size_of::<Value>() + value.heap_bytes())?;
        found.push(value);
        Ok(())
    };
    let mut activities = activities.into_iter().peekable();
    for change in &changes {
        while let Some(activity) = activities.next_if(|activity| activity.time() <= change.time) {
            add(activity.to_value())?;
        }
        add(change.to_value())?;
    }
    for activity in activities {
        add(activity.to_value())?;
    }
    Ok(found)
}
