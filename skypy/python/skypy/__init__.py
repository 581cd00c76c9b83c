"""Network flows from capture files."""

from . import _conflict
from ._skypy import CaptureError, Flows, QueryError, SkydiveError, __version__, flows

__all__ = ["CaptureError", "Flows", "QueryError", "SkydiveError", "__version__", "flows"]

_conflict.warn()
