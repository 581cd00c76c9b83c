//! `Lookup`: point access to elements that a filter identifies by id or by an end of an edge.

use super::explain::Access;
use crate::filter::Filter;
use crate::graph::ElementKey;
use crate::value::Text;

/// Identity that every element matching a filter has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lookup<'f> {
    /// The id of the only element that can match.
    Id(&'f Text),
    /// The parent of all edges that can match.
    Parent(&'f Text),
    /// The child of all edges that can match.
    Child(&'f Text),
}

impl<'f> Lookup<'f> {
    /// Returns the identity that a filter on nodes requires, if any.
    pub(super) fn of_node(filter: &'f Filter<ElementKey>) -> Option<Self> {
        ElementKey::required_text(filter, |key| matches!(key, ElementKey::Id)).map(Self::Id)
    }

    /// Returns the identity that a filter on edges requires, if any.
    pub(super) fn of_edge(filter: &'f Filter<ElementKey>) -> Option<Self> {
        let parent =
            || ElementKey::required_text(filter, |key| matches!(key, ElementKey::Parent(_)));
        let child = || ElementKey::required_text(filter, |key| matches!(key, ElementKey::Child(_)));
        Self::of_node(filter)
            .or_else(|| parent().map(Self::Parent))
            .or_else(|| child().map(Self::Child))
    }

    /// Returns whether the view supports this access; history has no adjacency lookup by id.
    pub(super) const fn works(self, in_the_past: bool) -> bool {
        !in_the_past || matches!(self, Self::Id(_))
    }

    /// Returns the access for the explanation of a query.
    pub(super) const fn access(self) -> Access {
        match self {
            Self::Id(_) => Access::Id,
            Self::Parent(_) | Self::Child(_) => Access::Adjacency,
        }
    }
}
