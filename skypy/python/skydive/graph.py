"""Nodes and edges of the graph."""


class GraphElement:
    """A node or an edge. Times are Unix milliseconds."""

    origin = ""
    """Service and host that wrote the element, for example `agent.edge-01`."""

    def __init__(self, id, host, created_at=0, updated_at=0, deleted_at=0, revision=0, metadata=None):
        self.id = id
        self.host = host
        self.created_at = created_at
        self.updated_at = updated_at
        self.deleted_at = deleted_at
        self.revision = revision
        self.metadata = metadata

    def repr_json(self):
        """Returns the element as a dict that the `json` module can write."""
        obj = {"ID": self.id, "Host": self.host, "Metadata": self.metadata}
        if self.created_at:
            obj["CreatedAt"] = self.created_at
        if self.updated_at:
            obj["UpdatedAt"] = self.updated_at
        if self.deleted_at:
            obj["DeletedAt"] = self.deleted_at
        return obj

    @classmethod
    def from_object(cls, obj):
        """Creates an element from parsed JSON. Unknown keys are ignored."""
        return cls._create(obj, (obj["ID"], obj["Host"]))

    @classmethod
    def _create(cls, obj, required):
        get = obj.get
        element = cls(
            *required, created_at=get("CreatedAt", 0), updated_at=get("UpdatedAt", 0),
            deleted_at=get("DeletedAt", 0), revision=get("Revision", 0), metadata=get("Metadata"))
        if "Origin" in obj:
            element.origin = obj["Origin"]
        return element

    def __repr__(self):
        metadata = self.metadata if isinstance(self.metadata, dict) else {}
        about = metadata.get("Name") or metadata.get("RelationType") or ""
        return f"<{type(self).__name__} {self.id} {about}>"


class Node(GraphElement):
    """A node of the graph."""


class Edge(GraphElement):
    """An edge of the graph, from the node `parent` to the node `child`."""

    def __init__(self, id, host, parent, child,
                 created_at=0, updated_at=0, deleted_at=0, revision=0, metadata=None):
        super().__init__(id, host, created_at, updated_at, deleted_at, revision, metadata)
        self.parent = parent
        self.child = child

    def repr_json(self):
        """Returns the edge as a dict that the `json` module can write."""
        obj = super().repr_json()
        obj["Parent"] = self.parent
        obj["Child"] = self.child
        return obj

    @classmethod
    def from_object(cls, obj):
        """Creates an edge from parsed JSON. Unknown keys are ignored."""
        return cls._create(obj, (obj["ID"], obj["Host"], obj["Parent"], obj["Child"]))
