// A proxy in front of a daemon that behaves as badly as a test wants.

import http from "node:http";
import net from "node:net";

/** Starts a proxy to a daemon. Its `behavior` can be changed at any time:
 *
 * - `refusesSockets`: upgrades to WebSocket are refused
 * - `delay`: milliseconds before each response
 * - `answer`: function of method and path that returns [status, text] instead of the daemon's response */
export async function startProxy(daemon) {
  const behavior = { refusesSockets: false, delay: 0, answer: () => undefined };
  const sockets = new Set();
  const server = http.createServer((request, response) => {
    const own = behavior.answer(request.method, request.url);
    const timer = setTimeout(() => {
      if (own) {
        response.writeHead(own[0], { "Content-Type": "text/plain" }).end(own[1]);
      } else {
        forward(daemon, request, response);
      }
    }, behavior.delay);
    // A response that is never sent does not delay the end of the tests.
    timer.unref();
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("upgrade", (request, socket, head) => {
    if (behavior.refusesSockets) {
      socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n");
    } else {
      tunnel(daemon, request, socket, head);
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    behavior,
    url: `http://127.0.0.1:${server.address().port}/`,
    /** Closes all connections; new ones are accepted. */
    cut: () => sockets.forEach((socket) => socket.destroy()),
    close: () => {
      server.close();
      sockets.forEach((socket) => socket.destroy());
    },
  };
}

function forward(daemon, request, response) {
  const { method, url, headers } = request;
  const target = http.request({ host: "127.0.0.1", port: daemon.port, method, path: url, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders);
    answer.pipe(response);
  });
  target.on("error", () => request.socket.destroy());
  request.pipe(target);
}

function tunnel(daemon, request, socket, head) {
  const target = net.connect(daemon.port, "127.0.0.1", () => {
    const lines = request.rawHeaders.map((text, index) => (index % 2 === 0 ? `${text}: ` : `${text}\r\n`));
    target.write(`${request.method} ${request.url} HTTP/1.1\r\n${lines.join("")}\r\n`);
    target.write(head);
    target.pipe(socket);
    socket.pipe(target);
  });
  for (const [one, other] of [
    [target, socket],
    [socket, target],
  ]) {
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroy());
  }
}
