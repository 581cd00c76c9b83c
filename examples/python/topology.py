"""Prints the bridges of a running skyd (or Skydive analyzer) and the interfaces attached to them.

Usage: python topology.py [URL]        for example http://127.0.0.1:8082
"""

import sys

from skypy import G
from skypy.client import Client


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8082"
    with Client(url) as client:
        print(client.query(G.V().Count()), "nodes,", client.query(G.E().Count()), "edges")
        for bridge in client.nodes(G.V().Has("Type", "bridge")):
            names = client.query(G.V(bridge["ID"]).OutE("RelationType", "layer2").OutV().Values("Name"))
            print(bridge["Metadata"]["Name"], "->", ", ".join(names or ["nothing"]))


if __name__ == "__main__":
    main()
