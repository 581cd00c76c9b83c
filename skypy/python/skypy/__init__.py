"""Network flows from capture files."""

from ._skypy import CaptureError, Flows, QueryError, SkydiveError, __version__, flows

__all__ = ["CaptureError", "Flows", "QueryError", "SkydiveError", "__version__", "flows"]
