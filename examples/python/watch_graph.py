"""Prints the changes to the graph of a running skyd (or Skydive analyzer) until Ctrl-C.

Usage: python watch_graph.py [URL]        for example http://127.0.0.1:8082
"""

import sys

from skypy.client import Client


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8082"
    with Client(url) as client:
        for message in client.subscribe():
            if message["Type"] == "SyncReply":
                nodes, edges = message["Obj"]["Nodes"] or [], message["Obj"]["Edges"] or []
                print(f"the graph has {len(nodes)} nodes and {len(edges)} edges", flush=True)
            else:
                element = message["Obj"]
                metadata = element.get("Metadata") or {}
                name = metadata.get("Name") or metadata.get("RelationType") or ""
                print(message["Type"], element.get("ID"), name, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
