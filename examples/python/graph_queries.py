"""Builds a graph in memory, and queries it with Gremlin.

Usage: python graph_queries.py
"""

import skypy
from skypy import G, P


def main() -> None:
    graph = skypy.Graph()
    graph.add_node("host", {"Name": "edge-01", "Type": "host"})
    graph.add_node("bridge", {"Name": "br0", "Type": "bridge", "MTU": 1500})
    for number in range(3):
        name = f"eth{number}"
        graph.add_node(name, {"Name": name, "Type": "device", "MTU": 1500 + 3000 * number})
        graph.add_edge("bridge", name, {"RelationType": "layer2"})
        graph.add_edge("host", name, {"RelationType": "ownership"})
    graph.add_edge("host", "bridge", {"RelationType": "ownership"})

    print(graph)
    print("interfaces of br0:", graph.query(G.V().Has("Name", "br0").Out().Values("Name")))
    print("jumbo frames:", graph.query(G.V().Has("MTU", P.Gt(1500)).Values("Name")))
    plan, table = graph.explain(G.V().Has("Type", "bridge").Out().Count())
    print(table)
    try:
        graph.query("G.V().Hass('Type')")
    except skypy.QueryError as error:
        print(f"error at position {error.position}: {error}")


if __name__ == "__main__":
    main()
