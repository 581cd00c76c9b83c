import os
from typing import Any, Iterator, Optional, Sequence, Union, final, overload

__all__ = ["CaptureError", "Flows", "SkydiveError", "__version__", "flows"]

__version__: str

class SkydiveError(Exception):
    """The base of all exceptions of this package."""

class CaptureError(SkydiveError):
    """A capture that cannot be read, or not to its end."""

@final
class Flows:
    """The flows of a capture, in the order in which they left the flow table."""

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
) -> Flows:
    """Reads a capture file and gives its flows."""
