import os
from typing import Any, Iterator, Optional, Sequence, Union, final, overload

__all__ = ["CaptureError", "Flows", "SkydiveError", "__version__", "flows"]

__version__: str

class SkydiveError(Exception):
    """Base class of all exceptions of this package."""

class CaptureError(SkydiveError):
    """Raised if a capture file is damaged or is not a capture file."""

@final
class Flows:
    """Flows of a capture file, in the order in which the flow table sent them."""

    @property
    def packets(self) -> int: ...
    def to_dicts(self) -> list[dict[str, Any]]: ...
    def raw_packets(self) -> dict[str, list[dict[str, Any]]]: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int, /) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[dict[str, Any]]: ...
    def __iter__(self) -> Iterator[dict[str, Any]]: ...
    def __repr__(self) -> str: ...

def flows(
    path: Union[str, os.PathLike[str]],
    *,
    bpf: Optional[str] = None,
    layer_key: str = "L2",
    raw_packets: int = 0,
    extra_layer: Union[str, Sequence[str], None] = None,
    extra_tcp_metric: bool = False,
    ip_defrag: bool = False,
    reassemble_tcp: bool = False,
    max_bytes: int = 2147483648,
    recorded: bool = False,
    threads: int = 1,
    extra_rtt_metric: bool = False,
    key_ignore: str = "",
) -> Flows:
    """Reads a capture file and returns its flows."""
