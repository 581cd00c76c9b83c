"""Network topology as a graph, traffic as flows, and Gremlin queries over both."""

from . import _conflict
from ._analyzer import Analyzer
from ._graph import Graph
from ._skypy import (
    Capture, CaptureError, Edges, Events, Flows, FlowStream, FlowTable, History, Nodes, QueryError, SkydiveError,
    StoreError, __version__, flows, open_history)
from ._traversal import G, P, Predicate, Traversal

__all__ = [
    "Analyzer", "Capture", "CaptureError", "Edges", "Events", "FlowStream", "FlowTable", "Flows", "G", "Graph",
    "History", "Nodes", "P", "Predicate", "QueryError", "SkydiveError", "StoreError", "Traversal", "__version__",
    "flows", "open_history",
]

_conflict.warn()
