//! Plan of `GroupBy` and the steps that describe its rows.

use super::params::{page, text};
use crate::gremlin::ast::Step;
use crate::gremlin::steps::group_by::{GroupKey, GroupPlan, Measure};
use crate::value::Text;

/// Returns the plan of a grouping by keys. Absorbs the steps from `next` on that add totals, one
/// order, and one page, in any order.
///
/// # Errors
/// Returns a message about the step before `next`.
pub(super) fn absorb(
    keys: &[Text],
    steps: &[(Step, usize)],
    next: &mut usize,
) -> Result<GroupPlan, String> {
    let keys = keys.iter().map(GroupKey::parse).collect::<Result<_, _>>()?;
    let mut plan = GroupPlan::new(keys);
    let (mut sort, mut is_counted) = (None, false);
    while let Some((step, _)) = steps.get(*next) {
        *next += 1;
        match step {
            Step::Sum(params) => {
                let names = params.iter().map(text).collect::<Option<Vec<Text>>>();
                let names = names.filter(|names| !names.is_empty());
                for name in &names.ok_or("Sum requires string keys")? {
                    plan.add(Measure::sum(name)?);
                }
            }
            Step::Rate(names) if names.is_empty() => plan.add(Measure::rate("Bytes")?),
            Step::Rate(names) => {
                for name in names {
                    plan.add(Measure::rate(name)?);
                }
            }
            Step::Count if !is_counted && plan.page.is_none() => is_counted = true,
            Step::Sort(order, Some(key)) => sort = Some((order.unwrap_or_default(), key)),
            Step::Sort(_, None) => sort = None,
            Step::Limit(_) | Step::Range(..) if plan.page.is_none() => plan.page = page(step)?,
            _ => {
                *next -= 1;
                break;
            }
        }
    }
    if let Some((order, key)) = sort {
        plan.sort = Some((plan.column(key)?, order));
    }
    Ok(plan)
}
