"""`Analyzer` with conversions to other types."""

from __future__ import annotations

from . import _skypy
from ._graph import Graph


class Analyzer(_skypy.Analyzer):
    __doc__ = _skypy.Analyzer.__doc__

    def graph(self) -> Graph:
        """Returns a copy of the current graph."""
        # Edges are read first, so that the later list of nodes contains their ends, unless these were deleted.
        edges, nodes = list(self.edges()), list(self.nodes())
        present = {node["ID"] for node in nodes}
        graph = Graph()
        graph.load(nodes, (edge for edge in edges if edge["Parent"] in present and edge["Child"] in present))
        return graph

    def _repr_html_(self) -> str:
        """Returns a drawing of the graph for notebooks, or its size if it is large."""
        return self.graph()._repr_html_()
