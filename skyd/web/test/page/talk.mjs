// One end of a UDP conversation: `red` answers, `blue` sends ten packets per second.

import { createSocket } from "node:dgram";

const [space, port, size] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const socket = createSocket("udp4");
if (space === "red") {
  socket.on("message", (data, peer) => socket.send(data, peer.port, peer.address));
  socket.bind(port, "192.0.2.2");
} else {
  socket.bind(40_000 + (port % 1000), "192.0.2.1", () =>
    setInterval(() => socket.send(Buffer.alloc(size), port, "192.0.2.2"), 100),
  );
}
