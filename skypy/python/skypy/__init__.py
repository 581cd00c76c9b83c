"""Flows of capture files, Gremlin queries, and clients of a server."""

from . import _conflict
from ._skypy import CaptureError, Flows, QueryError, SkydiveError, __version__, flows
from ._traversal import G, P, Predicate, Traversal

__all__ = [
    "CaptureError", "Flows", "G", "P", "Predicate", "QueryError", "SkydiveError", "Traversal", "__version__", "flows",
]

_conflict.warn()
