"""Network flows from capture files."""

from . import _conflict
from ._skypy import CaptureError, Flows, SkydiveError, __version__, flows

__all__ = ["CaptureError", "Flows", "SkydiveError", "__version__", "flows"]

_conflict.warn()
