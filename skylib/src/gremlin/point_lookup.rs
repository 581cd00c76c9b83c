//! `Lookup`: elements that a filter names, so that they need not be searched for.

use super::explain::Access;
use crate::filter::Filter;
use crate::graph::ElementKey;
use crate::value::Text;

/// What a filter names. Complete by definition.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lookup<'f> {
    /// The only element that may pass.
    Id(&'f Text),
    /// The node at the parent's end of all edges that may pass.
    Parent(&'f Text),
    /// The node at the child's end.
    Child(&'f Text),
}

impl<'f> Lookup<'f> {
    pub(super) fn of_node(filter: &'f Filter<ElementKey>) -> Option<Self> {
        ElementKey::required_text(filter, |key| matches!(key, ElementKey::Id)).map(Self::Id)
    }

    pub(super) fn of_edge(filter: &'f Filter<ElementKey>) -> Option<Self> {
        let parent =
            || ElementKey::required_text(filter, |key| matches!(key, ElementKey::Parent(_)));
        let child = || ElementKey::required_text(filter, |key| matches!(key, ElementKey::Child(_)));
        Self::of_node(filter)
            .or_else(|| parent().map(Self::Parent))
            .or_else(|| child().map(Self::Child))
    }

    /// Whether it can be looked up, now or in the past.
    pub(super) const fn works(self, in_the_past: bool) -> bool {
        !in_the_past || matches!(self, Self::Id(_))
    }

    pub(super) const fn access(self) -> Access {
        match self {
            Self::Id(_) => Access::Id,
            Self::Parent(_) | Self::Child(_) => Access::Adjacency,
        }
    }
}
