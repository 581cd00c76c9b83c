//! `Error`: whatever can go wrong in the library, for callers who handle it in one place.

/// Any error of the library.
///
/// ```
/// use skylib::gremlin::Query;
/// fn count() -> skylib::Result<()> {
///     Query::parse("G.V(")?;
///     Ok(())
/// }
/// assert!(matches!(count(), Err(skylib::Error::Query(_))));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A source of packets cannot be opened or go on.
    #[error(transparent)]
    Capture(#[from] crate::capture::CaptureError),
    /// The graph refused a change.
    #[error(transparent)]
    Graph(#[from] crate::graph::GraphError),
    /// A query cannot be parsed or answered.
    #[error(transparent)]
    Query(#[from] crate::gremlin::QueryError),
    /// Flows cannot be asked for.
    #[error(transparent)]
    FlowQuery(#[from] crate::flow::FlowQueryError),
    /// A message cannot be decoded.
    #[error(transparent)]
    Proto(#[from] crate::proto::ProtoError),
    /// Something cannot be kept.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A recording cannot be controlled.
    #[cfg(feature = "spp")]
    #[error(transparent)]
    Spp(#[from] crate::spp::SppError),
    /// The engine cannot start.
    #[cfg(feature = "engine")]
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
}

/// What the library's functions return when anything can go wrong.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
