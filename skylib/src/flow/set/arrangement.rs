//! Sort, deduplication, and range of a query on keys alone, so that a store reads only the flows of
//! the answer.

use hashbrown::HashSet;

use super::{SortKey, check_order, rank, sort_by_rank};
use crate::flow::query::{FlowQuery, FlowQueryError};
use crate::flow::record::Flow;

/// Values of a flow by which a query arranges it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArrangeKeys {
    /// Value of the field to sort by, if the flow has it.
    rank: Option<SortKey>,
    /// Value of the field to deduplicate by, if the flow has it.
    dedup: Option<SortKey>,
}

impl ArrangeKeys {
    /// Returns the size of the values on the heap, in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        let values = [&self.rank, &self.dedup].into_iter().flatten();
        let bytes = |value: &SortKey| match value {
            SortKey::Int(_) => 0,
            SortKey::Text(text) => text.capacity(),
        };
        values.map(bytes).sum()
    }
}

impl FlowQuery {
    /// Returns the values of a flow by which the query arranges it.
    pub(crate) fn arrange_keys(&self, flow: &Flow) -> ArrangeKeys {
        ArrangeKeys {
            rank: self.sort.and_then(|(field, _)| rank(flow, &field)),
            dedup: self.dedup.and_then(|field| rank(flow, &field)),
        }
    }

    /// Sorts, deduplicates, and slices items as [`FlowQuery::arrange`] does with their flows.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::FieldNotFound`] if the field to sort by is an object.
    pub(crate) fn arrange_by_keys<T>(
        &self,
        mut items: Vec<(ArrangeKeys, T)>,
    ) -> Result<Vec<T>, FlowQueryError> {
        if let Some((field, order)) = self.sort {
            check_order(&field)?;
            sort_by_rank(&mut items, order, |(keys, _)| &keys.rank);
        }
        let all_have_keys = items.iter().all(|(keys, _)| keys.dedup.is_some());
        if self.dedup.is_some() && all_have_keys {
            let mut seen = HashSet::new();
            items.retain(|(keys, _)| seen.insert(keys.dedup.clone()));
        }
        let (from, to) = self.range.unwrap_or((0, u64::MAX));
        let position = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let items = items.into_iter().map(|(_, item)| item);
        let items = items.take(position(to)).skip(position(from));
        Ok(items.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowField, FlowMetric, SortOrder};

    #[test]
    fn keys_are_arranged_as_flows() {
        let flow = |number: i64| Flow {
            uuid: format!("{number}").as_str().into(),
            tracking_id: format!("t{}", number % 4).as_str().into(),
            metric: (number % 5 > 0).then(|| FlowMetric::default().with_ab_bytes(number % 3)),
            ..Flow::default()
        };
        let flows: Vec<Flow> = (0..20).map(flow).collect();
        let bytes = FlowField::parse("Metric.ABBytes").unwrap();
        let object = FlowField::parse("Metric").unwrap();
        let orders = [SortOrder::Ascending, SortOrder::Descending];
        let sorts = orders.map(|order| Some((bytes, order)));
        let sorts = sorts.into_iter().chain([None, Some((object, orders[0]))]);
        for sort in sorts {
            for dedup in [None, Some(FlowField::TRACKING_ID), Some(bytes)] {
                for range in [
                    None,
                    Some((0, 3)),
                    Some((2, 9)),
                    Some((5, 2)),
                    Some((30, 40)),
                ] {
                    let query = FlowQuery {
                        sort,
                        dedup,
                        range,
                        ..FlowQuery::default()
                    };
                    let mut set = crate::flow::FlowSet::from_flows(flows.clone());
                    let wanted = query.arrange(&mut set).map(|()| set.flows);
                    let keyed = flows
                        .iter()
                        .map(|flow| (query.arrange_keys(flow), flow.clone()));
                    let found = query.arrange_by_keys(keyed.collect());
                    match (&found, &wanted) {
                        (Err(_), Err(_)) => {}
                        _ => assert_eq!(found, wanted, "{query:?}"),
                    }
                }
            }
        }
    }
}
