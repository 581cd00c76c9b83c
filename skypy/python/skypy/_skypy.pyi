import os
from typing import Any, Iterator, Optional, Sequence, Union, final, overload

__all__ = ["CaptureError", "Flows", "QueryError", "SkydiveError", "__version__", "flows"]

__version__: str

class SkydiveError(Exception):
    """Base class of all exceptions of this package."""

class CaptureError(SkydiveError):
    """Raised if a capture file is damaged or is not a capture file."""

class QueryError(SkydiveError):
    """Raised if a Gremlin query is invalid or fails."""

    position: Optional[int]

@final
class Flows:
    """Flows of capture files, in the order in which the flow table sent them; with `top`, the largest first."""

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

_Path = Union[str, os.PathLike[str]]

@overload
def flows(
    path: Union[_Path, Sequence[_Path]],
    *,
    merge: bool = False,
    query: None = None,
    bpf: Optional[str] = None,
    link_type: Union[int, str, None] = None,
    interface: Optional[str] = None,
    layer_key: str = "L2",
    expire: Union[float, str, None] = None,
    update: Union[float, str, None] = None,
    ports: str = "",
    raw_packets: int = 0,
    extra_layer: Union[str, Sequence[str], None] = None,
    extra_tcp_metric: bool = False,
    extra_rtt_metric: bool = False,
    ip_defrag: bool = False,
    reassemble_tcp: bool = False,
    top: Optional[int] = None,
    by: str = "bytes",
    max_bytes: int = 2147483648,
    recorded: bool = False,
    key_ignore: str = "",
    threads: int = 1,
) -> Flows:
    """Reads capture files and returns their flows."""
@overload
def flows(
    path: Union[_Path, Sequence[_Path]],
    *,
    merge: bool = False,
    query: str,
    bpf: Optional[str] = None,
    link_type: Union[int, str, None] = None,
    interface: Optional[str] = None,
    layer_key: str = "L2",
    expire: Union[float, str, None] = None,
    update: Union[float, str, None] = None,
    ports: str = "",
    raw_packets: int = 0,
    extra_layer: Union[str, Sequence[str], None] = None,
    extra_tcp_metric: bool = False,
    extra_rtt_metric: bool = False,
    ip_defrag: bool = False,
    reassemble_tcp: bool = False,
    top: Optional[int] = None,
    by: str = "bytes",
    max_bytes: int = 2147483648,
    recorded: bool = False,
    key_ignore: str = "",
    threads: int = 1,
) -> Any:
    """Reads capture files and returns the result of a query."""
