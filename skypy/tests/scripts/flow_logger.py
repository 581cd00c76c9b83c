"""The script of Skydive's API page that logs flows, in Python 3.

Usage: flow_logger.py HOST:PORT FILE. Ends after the first flow.
"""

import json
import sys

from skydive.websocket.client import WSClient, WSClientDefaultProtocol


class WSClientFlowLogger(WSClientDefaultProtocol):

    def onOpen(self):
        print("Websocket connection open.", flush=True)

    def onMessage(self, payload, isBinary):
        if isBinary:
            print("Binary message received: {0} bytes".format(len(payload)))
            return
        msg = json.loads(payload)
        if msg["Type"] != "store":
            return
        with open(self.factory.kwargs["file"], "a") as log:
            for flow in msg["Obj"]:
                log.write("{0} {1} {2}\n".format(flow["UUID"], flow["LayersPath"], flow["Network"]["A"]))
        self.stop()

    def onClose(self, wasClean, code, reason):
        print("Websocket connection closed: {0}".format(reason))


def main():
    client = WSClient("flow-logger", "ws://" + sys.argv[1] + "/ws/subscriber/flow",
                      protocol=WSClientFlowLogger, file=sys.argv[2])
    client.connect()
    client.start()


if __name__ == "__main__":
    main()
