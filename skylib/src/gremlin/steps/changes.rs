//! `Changes`: the changes in a time slice, as objects.

use crate::graph::history::{Change, History};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::expired;
use crate::time::TimeSlice;
use crate::value::Value;

/// Returns the changes in a time slice, oldest first.
///
/// # Errors
/// Returns an error if the query is interrupted or exceeds a limit.
pub(in crate::gremlin) fn during(
    history: &dyn History,
    slice: TimeSlice,
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let mut keep_going = || budget.tick().is_ok();
    let changes =
        Change::during(history, slice, &mut keep_going).map_err(|error| expired(&error))?;
    budget.check()?;
    let mut room = budget.room();
    let mut found = Vec::with_capacity(changes.len());
    for change in &changes {
        let value = change.to_value();
        room.add(size_of::<Value>() + value.heap_bytes())?;
        found.push(value);
    }
    Ok(found)
}
