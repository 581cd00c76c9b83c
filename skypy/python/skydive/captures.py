"""Captures."""

from skydive._resource import ALWAYS, NOT_EMPTY, REQUIRED, Resource


class Capture(Resource):
    """A request to capture the traffic of the nodes that a Gremlin query selects.

    Attributes of a capture that the server returned are `None` if the reply lacks them.
    """

    extra_layers = None
    """Bit set of the layers whose messages are added to flows."""

    _fields = (
        ("uuid", "UUID", REQUIRED),
        ("query", "GremlinQuery", REQUIRED),
        ("name", "Name", NOT_EMPTY),
        ("description", "Description", NOT_EMPTY),
        ("count", "Count", ALWAYS),
        ("extra_tcp_metric", "ExtraTCPMetric", NOT_EMPTY),
        ("ip_defrag", "IPDefrag", NOT_EMPTY),
        ("reassemble_tcp", "ReassembleTCP", NOT_EMPTY),
        ("layer_key_mode", "LayerKeyMode", ALWAYS),
        ("bpf_filter", "BPFFilter", NOT_EMPTY),
        ("capture_type", "Type", NOT_EMPTY),
        ("raw_pkt_limit", "RawPacketLimit", NOT_EMPTY),
        ("port", "Port", NOT_EMPTY),
        ("header_size", "HeaderSize", NOT_EMPTY),
        ("target", "Target", NOT_EMPTY),
        ("target_type", "TargetType", NOT_EMPTY),
        ("polling_interval", "PollingInterval", NOT_EMPTY),
        ("sampling_rate", "SamplingRate", NOT_EMPTY),
    )
    _more_fields = (("extra_layers", "ExtraLayers", NOT_EMPTY),)

    def __init__(self, uuid, query, name="", description="", count=0, extra_tcp_metric=False,
                 ip_defrag=False, reassemble_tcp=False, layer_key_mode="L2", bpf_filter="",
                 capture_type="", raw_pkt_limit=0, port=0, header_size=0, target="",
                 target_type="", polling_interval=10, sampling_rate=1):
        self.uuid = uuid
        self.query = query
        self.name = name
        self.description = description
        self.count = count
        self.extra_tcp_metric = extra_tcp_metric
        self.ip_defrag = ip_defrag
        self.reassemble_tcp = reassemble_tcp
        self.layer_key_mode = layer_key_mode
        self.bpf_filter = bpf_filter
        self.capture_type = capture_type
        self.raw_pkt_limit = raw_pkt_limit
        self.port = port
        self.header_size = header_size
        self.target = target
        self.target_type = target_type
        self.polling_interval = polling_interval
        self.sampling_rate = sampling_rate

    def repr_json(self):
        """Returns the capture as a dict that the `json` module can write."""
        obj = super().repr_json()
        for key in ("ExtraTCPMetric", "IPDefrag", "ReassembleTCP"):
            if key in obj:
                obj[key] = True
        return obj
