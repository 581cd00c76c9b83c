"""A publisher as in the samples of Skydive: adds a rack with two switches, and a link between them.

Usage: publisher.py HOST:PORT
"""

import sys

from skydive.graph import Edge, Node
from skydive.rest.client import RESTClient
from skydive.websocket.client import (
    EdgeAddedMsgType, NodeAddedMsgType, NodeDeletedMsgType, WSClient, WSClientDebugProtocol, WSMessage)

HOST = "publisher"


class WSClientInjectProtocol(WSClientDebugProtocol):

    def onOpen(self):
        print("connected")
        rack = RESTClient(sys.argv[1]).node_create("rack", HOST, {"Name": "rack", "Type": "rack"})
        nodes = [Node("switch%d" % n, HOST, metadata={"Name": "switch%d" % n, "Type": "switch"}) for n in range(3)]
        for node in nodes:
            self.sendWSMessage(WSMessage("Graph", NodeAddedMsgType, node))
        for node in nodes:
            edge = Edge("owner-" + node.id, HOST, rack.id, node.id, metadata={"RelationType": "ownership"})
            self.sendWSMessage(WSMessage("Graph", EdgeAddedMsgType, edge))
        self.sendWSMessage(WSMessage("Graph", NodeDeletedMsgType, nodes[2]))
        self.factory.loop.call_later(1, self.sendClose)

    def onClose(self, wasClean, code, reason):
        print("closed", wasClean)
        self.stop()


def main():
    client = WSClient(HOST, "ws://" + sys.argv[1] + "/ws/publisher", protocol=WSClientInjectProtocol, persistent=True)
    client.connect()
    client.start()


if __name__ == "__main__":
    main()
