"""Console script `skydive-ws-client`: publishes nodes and edges of a file, or listens to the graph."""

import argparse
import json
import logging
import os
import sys

from skydive.websocket.client import (
    EdgeAddedMsgType, EdgeDeletedMsgType, EdgeUpdatedMsgType, NodeAddedMsgType, NodeDeletedMsgType,
    NodeUpdatedMsgType, WSClient, WSClientDebugProtocol, WSMessage)

LOG = logging.getLogger(__name__)

_TYPES = {
    "add": (NodeAddedMsgType, EdgeAddedMsgType),
    "update": (NodeUpdatedMsgType, EdgeUpdatedMsgType),
    "delete": (NodeDeletedMsgType, EdgeDeletedMsgType),
}
_PROGRESS = {"add": "adding", "update": "updating", "delete": "deleting"}


class WSClientModifyProtocol(WSClientDebugProtocol):
    """Protocol that sends the nodes and edges of the file `kwargs["file"]`.

    `kwargs["mode"]` is `add`, `update`, or `delete`.
    """

    def onOpen(self):
        """Sends the messages, closes the connection, and stops the event loop."""
        LOG.info("WebSocket connection open.")
        mode, file = self.factory.kwargs["mode"], self.factory.kwargs["file"]
        LOG.info("%s: %s", _PROGRESS[mode], file)
        try:
            elements = _read(file)
        except (OSError, ValueError) as error:
            self.factory.kwargs["error"] = error
            self.stop()
            return
        for kind, obj in _messages(mode, elements):
            self.sendWSMessage(WSMessage("Graph", kind, obj))
        self.stop_when_complete()

    def onClose(self, wasClean, code, reason):
        """Stops the event loop if the server ended the connection."""
        super().onClose(wasClean, code, reason)
        if not wasClean:
            self.factory.kwargs.setdefault("error", ConnectionError(reason))
        self.stop()


def _read(file):
    """Returns the content of a file of nodes and edges."""
    with open(file, encoding="utf-8") as stream:
        try:
            elements = json.load(stream)
        except ValueError as error:
            raise ValueError(f"the file {file} is not JSON: {error}") from error
    if not isinstance(elements, dict) or not all(
            isinstance(elements.get(key) or [], list) for key in ("Nodes", "Edges")):
        raise ValueError(f'the file {file} is not an object with the lists "Nodes" and "Edges"')
    return elements


def _messages(mode, elements):
    """Yields the type and the object of each message."""
    node_type, edge_type = _TYPES[mode]
    for node in elements.get("Nodes") or []:
        yield node_type, node
    for edge in elements.get("Edges") or []:
        yield edge_type, edge


def _parser():
    parser = argparse.ArgumentParser(prog="skydive-ws-client", description=__doc__)
    parser.add_argument("--analyzer", default="127.0.0.1:8082", help="address of the server, host:port")
    parser.add_argument("--host", default="Test", help="identifier of this client")
    parser.add_argument("--ssl", action="store_true", help="connect with TLS")
    parser.add_argument("--insecure", action="store_true", help="do not verify the certificate of the server")
    parser.add_argument("--username", default="", help="user name")
    parser.add_argument("--password", default="", help="password")
    parser.add_argument("--cafile", default="", help="file with further certificate authorities")
    parser.add_argument("--certfile", default="", help="file with the certificate of this client")
    parser.add_argument("--keyfile", default="", help="file with the key of this client")
    commands = parser.add_subparsers(dest="mode")
    for mode in ("add", "delete", "update"):
        command = commands.add_parser(mode, help=f"{mode} nodes and edges of a file")
        command.add_argument("file", help='JSON file: {"Nodes": […], "Edges": […]}')
    listen = commands.add_parser("listen", help="print all messages of the graph")
    listen.add_argument("--gremlin", default="", help="select a part of the graph by a Gremlin query")
    listen.add_argument("--sync-request", action="store_true", help="request the graph first")
    return parser


def _client(arguments):
    scheme = "wss" if arguments.ssl else "ws"
    listens = arguments.mode == "listen"
    path = "subscriber" if listens else "publisher"
    options = {
        "username": arguments.username, "password": arguments.password, "persistent": True,
        "insecure": arguments.insecure, "cafile": arguments.cafile, "certfile": arguments.certfile,
        "keyfile": arguments.keyfile,
    }
    if listens:
        options.update(protocol=WSClientDebugProtocol, filter=arguments.gremlin, sync=arguments.sync_request)
    else:
        options.update(protocol=WSClientModifyProtocol, mode=arguments.mode, file=arguments.file)
    return WSClient(arguments.host, f"{scheme}://{arguments.analyzer}/ws/{path}", **options)


def main():
    """Runs the script; exits with 0, or 1 after an error, or 2 for wrong arguments."""
    parser = _parser()
    arguments = parser.parse_args()
    if not arguments.mode:
        parser.print_help()
        return
    logging.basicConfig(level=logging.DEBUG)
    if arguments.mode != "listen" and not os.path.isfile(arguments.file):
        raise ValueError(f"The file {arguments.file} does not exist")
    client = _client(arguments)
    client.connect()
    client.start()
    error = client.kwargs.get("error")
    if error is not None:
        sys.exit(f"skydive-ws-client: {error}")
