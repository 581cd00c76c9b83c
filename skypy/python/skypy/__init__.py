"""Network topology as a graph, traffic as flows, and Gremlin queries over both."""

from . import _conflict
from ._analyzer import Analyzer
from ._graph import Graph
from ._skypy import (
    Capture, CaptureError, Edges, Events, Flows, FlowStream, FlowTable, Nodes, QueryError, SkydiveError, __version__,
    flows)
from ._traversal import G, P, Predicate, Traversal

__all__ = [
    "Analyzer", "Capture", "CaptureError", "Edges", "Events", "FlowStream", "FlowTable", "Flows", "G", "Graph",
    "Nodes", "P", "Predicate", "QueryError", "SkydiveError", "Traversal", "__version__", "flows",
]

_conflict.warn()
