"""`Graph` with conversions to other libraries."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any, Iterable, Mapping

from . import _skypy

if TYPE_CHECKING:
    import networkx

_SVG_NODES = 60


class Graph(_skypy.Graph):
    __doc__ = _skypy.Graph.__doc__

    def load(self, nodes: Iterable[Mapping[str, Any]], edges: Iterable[Mapping[str, Any]] = ()) -> None:
        """Adds nodes and edges, given as dicts with the keys of the JSON, such as query results of a server."""
        for node in nodes:
            self.add_node(node["ID"], dict(node.get("Metadata") or {}), host=node.get("Host") or "",
                          origin=node.get("Origin") or "", time=node.get("CreatedAt"))
        for edge in edges:
            self.add_edge(edge["Parent"], edge["Child"], dict(edge.get("Metadata") or {}), id=edge["ID"],
                          host=edge.get("Host") or "", origin=edge.get("Origin") or "", time=edge.get("CreatedAt"))

    def to_networkx(self) -> networkx.MultiDiGraph:
        """Returns the graph as a `networkx.MultiDiGraph`; metadata becomes attributes of nodes and edges."""
        import networkx

        graph = networkx.MultiDiGraph()
        for node in self.nodes():
            graph.add_node(node["ID"], **node["Metadata"])
        for edge in self.edges():
            graph.add_edge(edge["Parent"], edge["Child"], key=edge["ID"], **edge["Metadata"])
        return graph

    def _repr_html_(self) -> str:
        """Returns a drawing of the graph for notebooks, or its size if it is large."""
        if self.node_count > _SVG_NODES:
            return f"<p>{escape(repr(self))}</p>"
        return _svg(list(self.nodes()), list(self.edges()))


def _svg(nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> str:
    """Returns a drawing with the nodes on a circle."""
    radius = 60 + 12 * len(nodes)
    size = 2 * radius + 160
    positions = {}
    for number, node in enumerate(nodes):
        angle = 2 * math.pi * number / len(nodes)
        positions[node["ID"]] = (
            round(size / 2 + radius * math.cos(angle)), round(size / 2 + radius * math.sin(angle)))
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" font-size="12">']
    for edge in edges:
        (x1, y1), (x2, y2) = positions[edge["Parent"]], positions[edge["Child"]]
        title = escape(str(edge["Metadata"].get("RelationType", "")))
        lines.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#888"><title>{title}</title></line>')
    for node in nodes:
        x, y = positions[node["ID"]]
        name = escape(str(node["Metadata"].get("Name", node["ID"])))
        kind = escape(str(node["Metadata"].get("Type", "")))
        lines.append(f'<circle cx="{x}" cy="{y}" r="8" fill="#48c"><title>{kind}</title></circle>')
        lines.append(f'<text x="{x + 11}" y="{y + 4}" fill="currentColor">{name}</text>')
    return "".join([*lines, "</svg>"])


def flow_table(flows: Any) -> str:
    """Returns the first flows as a table for notebooks."""
    columns = ("LayersPath", "A", "B", "Packets", "Bytes")
    rows = []
    for flow in flows[:20]:
        ends = flow.get("Network") or flow.get("Link") or {}
        ports = flow.get("Transport") or {}
        metric = flow.get("Metric") or {}
        rows.append((
            flow.get("LayersPath", ""), _end(ends, ports, "A"), _end(ends, ports, "B"),
            metric.get("ABPackets", 0) + metric.get("BAPackets", 0),
            metric.get("ABBytes", 0) + metric.get("BABytes", 0)))
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<p>{escape(repr(flows))}</p><table><tr>{head}</tr>{body}</table>"


def _end(ends: Mapping[str, Any], ports: Mapping[str, Any], end: str) -> str:
    address = str(ends.get(end, ""))
    if end not in ports:
        return address
    return f"[{address}]:{ports[end]}" if ":" in address else f"{address}:{ports[end]}"
