//! `Error`: any error of the library, for callers that handle all of them in one place.

/// Any error of the library.
///
/// Every error type of the library and [`std::io::Error`] can be converted to this type, so that a
/// function can use `?` on all of them.
///
/// ```
/// use skylib::gremlin::Query;
///
/// fn prepare() -> skylib::Result<Query> {
///     Ok(Query::parse("G.V(")?)
/// }
/// assert!(matches!(prepare(), Err(skylib::Error::Query(_))));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A network address in the configuration or an API resource is invalid.
    #[error(transparent)]
    Address(#[from] crate::api::address::AddressError),
    /// A packet source cannot be opened or read.
    #[error(transparent)]
    Capture(#[from] crate::capture::CaptureError),
    /// A packet is truncated, malformed, or of an unsupported link type.
    #[error(transparent)]
    Decode(#[from] crate::decode::DecodeError),
    /// A compressed capture file is damaged.
    #[error(transparent)]
    Decompression(#[from] crate::pcap_file::DecompressionError),
    /// A duration is not valid in Go's duration syntax.
    #[error(transparent)]
    Duration(#[from] crate::go_duration::GoDurationError),
    /// The engine cannot start.
    #[cfg(feature = "engine")]
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
    /// A line of a static fabric does not describe a link.
    #[error(transparent)]
    Fabric(#[from] crate::topology::FabricError),
    /// Flows cannot be queried.
    #[error(transparent)]
    FlowQuery(#[from] crate::flow::FlowQueryError),
    /// The graph rejected a change or a read.
    #[error(transparent)]
    Graph(#[from] crate::graph::GraphError),
    /// Packets cannot be built or sent.
    #[error(transparent)]
    Inject(#[from] crate::inject::InjectError),
    /// A system call, a file, or a writer failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A JSON document of a client is invalid.
    #[error(transparent)]
    Json(#[from] crate::api::go_json::JsonError),
    /// A JSON patch is invalid or cannot be applied.
    #[error(transparent)]
    JsonPatch(#[from] crate::api::JsonPatchError),
    /// A stream is not a sequence of JSON objects, or an object is too large.
    #[cfg(feature = "netlink")]
    #[error(transparent)]
    JsonFrame(#[from] crate::topology::json_frames::FrameError),
    /// An object of the Kubernetes API is malformed.
    #[cfg(feature = "engine")]
    #[error(transparent)]
    KubernetesObject(#[from] crate::topology::k8s::ObjectError),
    /// A string is not a list of protocol layers.
    #[error(transparent)]
    LayerParse(#[from] crate::decode::LayerParseError),
    /// A live query cannot be opened.
    #[cfg(feature = "engine")]
    #[error(transparent)]
    Live(#[from] crate::engine::LiveError),
    /// A frame is not a valid LLDP frame.
    #[cfg(feature = "netlink")]
    #[error(transparent)]
    Lldp(#[from] crate::topology::lldp::LldpError),
    /// A string is not an IP network.
    #[error(transparent)]
    Network(#[from] crate::filter::ParseNetworkError),
    /// A patch cannot be applied to a resource.
    #[error(transparent)]
    Patch(#[from] crate::api::PatchError),
    /// A message of an OVSDB server is invalid.
    #[cfg(feature = "netlink")]
    #[error(transparent)]
    Ovsdb(#[from] crate::topology::ovsdb::OvsdbError),
    /// A capture file cannot be read or written.
    #[error(transparent)]
    PcapFile(#[from] crate::pcap_file::PcapFileError),
    /// A topology probe cannot run.
    #[cfg(feature = "netlink")]
    #[error(transparent)]
    Probe(#[from] crate::topology::ProbeError),
    /// A message of the Skydive protocol cannot be decoded.
    #[error(transparent)]
    Proto(#[from] crate::proto::ProtoError),
    /// A Gremlin query cannot be parsed or executed.
    #[error(transparent)]
    Query(#[from] crate::gremlin::QueryError),
    /// A string is not the address of a service.
    #[cfg(feature = "netlink")]
    #[error(transparent)]
    ServerAddress(#[from] crate::topology::ServerAddressError),
    /// The packet source of a replay failed. Boxed, because it includes all counters.
    #[error(transparent)]
    Replay(Box<crate::capture::ReplayError>),
    /// An API resource cannot be created or changed.
    #[error(transparent)]
    Resource(#[from] crate::api::ResourceError),
    /// A node or an edge violates its schema.
    #[error(transparent)]
    Schema(#[from] crate::graph::schema::SchemaError),
    /// A script failed, was interrupted, or exceeded a limit.
    #[cfg(feature = "scripting")]
    #[error(transparent)]
    Script(#[from] crate::engine::ScriptError),
    /// An SPP recording cannot be controlled.
    #[cfg(feature = "spp")]
    #[error(transparent)]
    Spp(#[from] crate::spp::SppError),
    /// A store cannot be read or written.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A string is not the name of a capture type.
    #[error(transparent)]
    CaptureType(#[from] crate::api::ParseCaptureTypeError),
    /// A string is not the name of a message encoding.
    #[error(transparent)]
    Encoding(#[from] crate::proto::ParseEncodingError),
    /// A string is not the name of an update policy.
    #[error(transparent)]
    UpdatePolicy(#[from] crate::proto::ParseUpdatePolicyError),
    /// A date in an API resource is not in RFC 3339 format.
    #[error(transparent)]
    Rfc3339(#[from] crate::api::ParseRfc3339Error),
    /// A string is not an RFC 3339 timestamp.
    #[error(transparent)]
    Timestamp(#[from] crate::time::ParseTimestampError),
    /// A stored workflow has no result.
    #[error(transparent)]
    Workflow(#[from] crate::gremlin::WorkflowError),
    /// A name of a flow field or of an option is unknown.
    #[error(transparent)]
    UnknownName(#[from] crate::flow::UnknownNameError),
    /// The number or name of a link type is unknown.
    #[error(transparent)]
    LinkType(#[from] crate::packet::UnknownLinkTypeError),
    /// A field of an API resource violates a rule.
    #[error(transparent)]
    Validation(#[from] crate::api::ValidationError),
}

impl From<crate::capture::ReplayError> for Error {
    fn from(error: crate::capture::ReplayError) -> Self {
        Self::Replay(Box::new(error))
    }
}

/// Result of a function that may return any [`Error`] of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;
