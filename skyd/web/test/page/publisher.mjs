// Publishes large graphs for tests: hosts with a bridge and 33 namespaces each.

/** Script that publishes hosts of 34 namespaces, and later changes, from inside the page. */
const PUBLISH = `
window.publish = (hosts) => new Promise((resolve) => {
  const Nodes = [], Edges = [];
  const node = (ID, Name, Type, more) => Nodes.push({ ID, Host: "far", Origin: "", Revision: 1, Metadata: { Name, Type, TID: ID, ...more } });
  const edge = (Parent, Child, RelationType, more) => Edges.push({ ID: Parent + Child + RelationType, Parent, Child, Host: "far", Origin: "", Revision: 1, Metadata: { RelationType, ...more } });
  for (let h = 0; h < hosts; h += 1) {
    const host = "host-" + h;
    node(host, host, "host");
    node(host + "-br0", "br0", "bridge", { State: "UP" });
    edge(host, host + "-br0", "ownership");
    for (let i = 0; i < 33; i += 1) {
      const [outer, space, inner] = [host + "-v" + i, host + "-ns" + i, host + "-eth" + i];
      node(outer, "v" + i, "veth", { State: i % 7 ? "UP" : "DOWN" });
      node(space, "web-" + i, "netns", { Path: "/run/netns/web" });
      node(inner, "eth0", "veth", { State: "UP", IPV4: ["10." + (h >> 8) + "." + (h & 255) + "." + (i + 1) + "/24"] });
      edge(host, outer, "ownership"); edge(host, space, "ownership"); edge(space, inner, "ownership");
      edge(outer, inner, "layer2", { Type: "veth" }); edge(host + "-br0", outer, "layer2");
    }
  }
  const socket = new WebSocket("ws://" + location.host + "/ws/publisher?x-client-type=page-test&x-host-id=page-test");
  const send = (Type, Obj) => socket.send(JSON.stringify({ Namespace: "Graph", Type, UUID: "u", Status: 200, Obj }));
  socket.onopen = () => { send("Sync", { Nodes, Edges }); resolve(Nodes.length); };
  window.stateOf = (id) => Nodes.find((node) => node.ID === id).Metadata.State;
  window.change = (count) => {
    for (let k = 0; k < count; k += 1) {
      const node = Nodes[(window.changed = (window.changed ?? 0) + 1) % Nodes.length];
      node.Revision += 1;
      node.Metadata.State = node.Revision % 2 ? "UP" : "DOWN";
      send("NodeUpdated", node);
    }
  };
})`;

/** Publishes hosts from a second page, and waits until the first one shows them. */
export async function publish(page, browser, daemon, hosts) {
  const publisher = await browser.page();
  await publisher.open(`${daemon.url}ui/status`);
  await publisher.js(PUBLISH);
  await page.open(daemon.url);
  const count = await publisher.js(`publish(${hosts})`);
  // Without the accessibility tree, which takes long to read while the page is busy.
  await page.until(
    () => page.js(`Number.parseInt(document.querySelector(".graph-size")?.textContent ?? "0", 10) >= ${count}`),
    `${count} nodes are shown`,
    120,
  );
  return { publisher, count };
}
