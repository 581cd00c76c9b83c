//! What the steps do, one file a family.

pub(super) mod time;
