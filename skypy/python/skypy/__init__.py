"""Network flows of capture files, by the engine of skylib."""

from ._skypy import CaptureError, Flows, SkydiveError, __version__, flows

__all__ = ["CaptureError", "Flows", "SkydiveError", "__version__", "flows"]
