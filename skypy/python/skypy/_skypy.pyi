import os
from datetime import datetime
from pathlib import Path
from typing import Any, Iterator, Literal, Optional, Protocol, Sequence, Union, final, overload

from typing_extensions import Self, disjoint_base

__all__ = [
    "Analyzer", "Capture", "CaptureError", "Edges", "Events", "FlowStream", "FlowTable", "Flows", "Graph", "History",
    "Nodes", "QueryError", "SkydiveError", "StoreError", "__version__", "flows", "open_history", "websocket_frames",
]

__version__: str

class SkydiveError(Exception):
    """Base class of all exceptions of this package."""

class CaptureError(SkydiveError):
    """Raised if a capture file is damaged or is not a capture file."""

class StoreError(SkydiveError):
    """Raised if a folder has no history, or a file of a history cannot be read."""

class QueryError(SkydiveError):
    """Raised if a Gremlin query is invalid or fails."""

    position: Optional[int]

class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...

_Path = Union[str, os.PathLike[str]]
_Input = Union[_Path, Sequence[_Path], bytes, bytearray, _Readable]
_Time = Union[int, str, datetime]
_Flow = dict[str, Any]
_Element = dict[str, Any]

@final
class Flows:
    """Flows of capture files, in the order in which they left the flow table; with `top`, the largest flows first."""

    @property
    def packets(self) -> int: ...
    def to_dicts(self) -> list[_Flow]: ...
    def to_polars(self) -> Any: ...
    def to_pandas(self) -> Any: ...
    def raw_packets(self) -> dict[str, list[dict[str, Any]]]: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int, /) -> _Flow: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[_Flow]: ...
    def __iter__(self) -> Iterator[_Flow]: ...
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...
    def _repr_html_(self) -> str: ...
    def __repr__(self) -> str: ...

@final
class FlowStream:
    """Flows of capture files, or of a history, while they are read: an iterator of dicts, or an Arrow stream."""

    def __iter__(self) -> Iterator[_Flow]: ...
    def __next__(self) -> _Flow: ...
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...

@final
class FlowTable:
    """Flow table to which packets are added individually or in lists."""

    def __new__(
        cls,
        *,
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
        max_bytes: int = 2147483648,
        recorded: bool = False,
        key_ignore: str = "",
    ) -> FlowTable: ...
    def process(self, packets: Sequence[tuple[int, Union[bytes, bytearray]]], *, link_type: int = 1) -> None: ...
    def advance(self, time: int) -> Flows: ...
    def flush(self) -> Flows: ...
    def flows(self) -> Flows: ...
    def query(self, gremlin: object) -> Any: ...
    @property
    def packets(self) -> int: ...
    def __len__(self) -> int: ...
    def __repr__(self) -> str: ...

@final
class Capture:
    """Running capture on a network interface."""

    def __new__(
        cls,
        interface: str,
        *,
        bpf: Optional[str] = None,
        netns: Optional[_Path] = None,
        header_size: int = 0,
        promiscuous: bool = True,
        max_ended: int = 100000,
        layer_key: str = "L2",
        expire: Union[float, str, None] = None,
        ports: str = "",
        raw_packets: int = 0,
        extra_layer: Union[str, Sequence[str], None] = None,
        extra_tcp_metric: bool = False,
        extra_rtt_metric: bool = False,
        ip_defrag: bool = False,
        reassemble_tcp: bool = False,
        max_bytes: int = 268435456,
        recorded: bool = False,
        key_ignore: str = "",
    ) -> Capture: ...
    def flows(self) -> Flows: ...
    def ended(self) -> Flows: ...
    def query(self, gremlin: object) -> Any: ...
    def stats(self) -> dict[str, int]: ...
    def stop(self) -> None: ...
    @property
    def running(self) -> bool: ...
    def __enter__(self) -> Capture: ...
    def __exit__(self, *_exception: object) -> None: ...
    def __repr__(self) -> str: ...

@final
class Nodes:
    """Nodes of a snapshot of a graph: an iterator of dicts, and an Arrow table."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_Element]: ...
    def __next__(self) -> _Element: ...
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...

@final
class Edges:
    """Edges of a snapshot of a graph: an iterator of dicts, and an Arrow table."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_Element]: ...
    def __next__(self) -> _Element: ...
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...

@final
class Events:
    """Changes of a graph, in order: an iterator of dicts with `Type` and `Obj`."""

    def __iter__(self) -> Iterator[dict[str, Any]]: ...
    def __next__(self) -> dict[str, Any]: ...

@disjoint_base
class Analyzer:
    """An analyzer in this process: the live graph of this host, captures on its interfaces, and their past."""

    def __new__(
        cls,
        *,
        host: Optional[str] = None,
        probes: bool = True,
        history: Union[float, str] = 3600.0,
        update: Union[float, str, None] = None,
        expire: Union[float, str, None] = None,
    ) -> Self: ...
    def query(self, gremlin: object) -> Any: ...
    def explain(self, gremlin: object) -> tuple[dict[str, Any], str]: ...
    def nodes(self) -> Nodes: ...
    def edges(self) -> Edges: ...
    def flows(self) -> Flows: ...
    def events(self) -> Events: ...
    def capture(
        self,
        gremlin: object,
        *,
        bpf: str = "",
        name: str = "",
        header_size: int = 0,
        layer_key: str = "L2",
        raw_packets: int = 0,
        extra_layer: Union[str, Sequence[str], None] = None,
        extra_tcp_metric: bool = False,
        extra_rtt_metric: bool = False,
        ip_defrag: bool = False,
        reassemble_tcp: bool = False,
    ) -> str: ...
    def captures(self) -> list[dict[str, Any]]: ...
    def delete_capture(self, id: str) -> None: ...
    def status(self) -> dict[str, Any]: ...
    def stop(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...
    def __repr__(self) -> str: ...

@disjoint_base
class Graph:
    """Graph of nodes and edges with metadata."""

    def __new__(cls, *, indexes: Sequence[str] = ..., journal: bool = False) -> Self: ...
    def add_node(
        self, id: str, metadata: dict[str, Any], *, host: str = "", origin: str = "", time: Optional[int] = None
    ) -> None: ...
    def add_edge(
        self,
        parent: str,
        child: str,
        metadata: dict[str, Any],
        *,
        id: Optional[str] = None,
        host: str = "",
        origin: str = "",
        time: Optional[int] = None,
    ) -> str: ...
    def set_node(self, id: str, metadata: dict[str, Any], *, time: Optional[int] = None) -> bool: ...
    def set_edge(self, id: str, metadata: dict[str, Any], *, time: Optional[int] = None) -> bool: ...
    def delete_node(self, id: str, *, time: Optional[int] = None) -> None: ...
    def delete_edge(self, id: str, *, time: Optional[int] = None) -> None: ...
    def node(self, id: str) -> _Element: ...
    def edge(self, id: str) -> _Element: ...
    def nodes(self) -> Nodes: ...
    def edges(self) -> Edges: ...
    @property
    def node_count(self) -> int: ...
    @property
    def edge_count(self) -> int: ...
    def query(self, gremlin: object) -> Any: ...
    def explain(self, gremlin: object) -> tuple[dict[str, Any], str]: ...
    def take_events(self) -> list[tuple[str, _Element]]: ...
    def __repr__(self) -> str: ...

@final
class History:
    """Past flows and the past of the graph, as of the moment at which `open_history` read their folder."""

    def query(self, gremlin: object) -> Any: ...
    def explain(self, gremlin: object) -> tuple[dict[str, Any], str]: ...
    @overload
    def flows(
        self, *, start: Optional[_Time] = None, end: Optional[_Time] = None, stream: Literal[False] = False
    ) -> Flows: ...
    @overload
    def flows(
        self, *, start: Optional[_Time] = None, end: Optional[_Time] = None, stream: Literal[True]
    ) -> FlowStream: ...
    def nodes(self, *, at: Optional[_Time] = None) -> Nodes: ...
    def edges(self, *, at: Optional[_Time] = None) -> Edges: ...
    def damaged(self) -> list[tuple[int, int]]: ...
    @property
    def path(self) -> Path: ...
    def __repr__(self) -> str: ...

def open_history(path: _Path) -> History:
    """Opens the history that a daemon has stored."""

@overload
def flows(
    path: _Input,
    *,
    stream: Literal[False] = False,
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
    path: _Input,
    *,
    stream: Literal[True],
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
) -> FlowStream:
    """Reads capture files while their flows are consumed."""
@overload
def flows(
    path: _Input,
    *,
    stream: bool = False,
    merge: bool = False,
    query: object,
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
def websocket_frames(opcode: int, payloads: Sequence[bytes], keys: bytes) -> bytes:
    """Returns one final frame per payload, each masked."""
