"""Rules that create nodes and edges."""

from skydive._resource import NOT_EMPTY, REQUIRED, Resource


class NodeRule(Resource):
    """A rule that creates nodes, or adds metadata to the nodes that a query selects."""

    _fields = (
        ("uuid", "UUID", REQUIRED),
        ("action", "Action", REQUIRED),
        ("metadata", "Metadata", REQUIRED),
        ("name", "Name", NOT_EMPTY),
        ("description", "Description", NOT_EMPTY),
        ("query", "Query", NOT_EMPTY),
    )

    def __init__(self, uuid, action, metadata, name="", description="", query=""):
        self.uuid = uuid
        self.action = action
        self.metadata = metadata
        self.name = name
        self.description = description
        self.query = query


class EdgeRule(Resource):
    """A rule that creates edges between the nodes that two queries select."""

    _fields = (
        ("uuid", "UUID", REQUIRED),
        ("src", "Src", REQUIRED),
        ("dst", "Dst", REQUIRED),
        ("metadata", "Metadata", REQUIRED),
        ("name", "Name", NOT_EMPTY),
        ("description", "Description", NOT_EMPTY),
    )

    def __init__(self, uuid, src, dst, metadata, name="", description=""):
        self.uuid = uuid
        self.src = src
        self.dst = dst
        self.metadata = metadata
        self.name = name
        self.description = description
