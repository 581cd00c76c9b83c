// Shows which processes of which hosts are connected, from the sockets of the hosts.
function FlowMatrix(useFlows, format, debug) {
  const log = (...words) => { if (debug) console.log(...words); };
  const hosts = client.G.V().Has('Type', 'host').HasKey('Sockets').result();
  const interfaces = client.G.V().HasKey('IPV4').result();

  const hostByName = new Map(hosts.map(host => [host.Host, host]));
  const hostByAddress = new Map();
  for (const node of interfaces) {
    const addresses = [].concat(node.Metadata.IPV4);
    for (const address of addresses) {
      const host = hostByName.get(node.Host);
      if (host) hostByAddress.set(String(address).split('/')[0], host);
    }
  }

  const isAny = address => address === '0.0.0.0' || address === '::';
  const isLocal = address => address.startsWith('127.') || address === '::1' ||
    address.startsWith('::1/');
  const isListening = socket => socket.State === 'LISTEN' ||
    socket.Protocol === 'UDP' && socket.State === 'CLOSE' && isAny(socket.RemoteAddress);

  const servicePorts = new Set(), listening = [], filed = new Map(), sockets = [];
  for (const host of hosts) {
    for (const socket of host.Metadata.Sockets || []) {
      const entry = {host, socket};
      sockets.push(entry);
      if (isListening(socket)) {
        servicePorts.add(socket.LocalPort);
        listening.push(entry);
      } else {
        const sameport = filed.get(socket.LocalPort) || [];
        sameport.push(entry);
        filed.set(socket.LocalPort, sameport);
      }
    }
  }
  log('hosts', hosts.length, 'sockets', sockets.length, 'services', servicePorts.size);

  const entries = new Map();
  const add = (protocol, server, address, port, client) => {
    const entry = {
      protocol, address, port, serviceHost: server.host, clientHost: client.host,
      service: server.socket, client: client.socket, clientAddress: client.socket.LocalAddress,
    };
    const same = JSON.stringify([protocol, server.host.ID, server.socket.Process,
      server.socket.Name, address, port, client.host.ID, entry.clientAddress,
      client.socket.Process, client.socket.Name]);
    if (!entries.has(same)) entries.set(same, entry);
  };

  // The socket at the other end of a connection to a service.
  const peer = ({host, socket}) => {
    const candidates = filed.get(socket.RemotePort);
    if (!candidates) return null;
    const found = candidates.find(other => other.socket.Protocol === socket.Protocol &&
      other.socket.LocalAddress === socket.RemoteAddress &&
      (!isLocal(socket.RemoteAddress) || other.host === host));
    if (found || socket.Protocol !== 'UDP') return found;
    return listener(socket, hostByAddress.get(socket.RemoteAddress));
  };

  const listener = (socket, owner) => listening.find(other => owner && other.host === owner &&
    other.socket.Protocol === socket.Protocol && other.socket.LocalPort === socket.RemotePort);

  for (const entry of sockets) {
    const {socket} = entry;
    if (socket.State !== 'ESTABLISHED' || !servicePorts.has(socket.RemotePort)) continue;
    const server = peer(entry);
    if (server) add(socket.Protocol, server, socket.RemoteAddress, socket.RemotePort, entry);
  }

  if (useFlows) {
    const found = client.G.Flows().Has('Transport', NE('')).Sockets().result();
    for (const socket of Object.values(found).flat()) {
      if (!servicePorts.has(socket.RemotePort)) continue;
      const owner = hostByAddress.get(socket.RemoteAddress);
      const server = sockets.find(other => other.host === owner &&
        other.socket.LocalAddress === socket.RemoteAddress &&
        other.socket.LocalPort === socket.RemotePort) || listener(socket, owner);
      const host = hostByAddress.get(socket.LocalAddress);
      if (owner && server && host) {
        add(socket.Protocol, server, socket.RemoteAddress, socket.RemotePort, {host, socket});
      }
    }
  }

  const matrix = Array.from(entries.values());
  if (format === 'dot') return dot(matrix);
  return format == null || format === '' || format === 'graph' ? graph(matrix) : null;

  function dot(matrix) {
    const quoted = text => '"' + String(text).replace(/["\\]/g, '\\$&') + '"';
    // Plain names are not quoted, as in Skydive; others would break the syntax.
    const plain = text => /^[\w.-]+$/.test(text) ? String(text) : quoted(text);
    const clusters = new Map();
    const file = (host, name) => {
      const names = clusters.get(host.Host) || new Set();
      clusters.set(host.Host, names.add(name));
    };
    for (const entry of matrix) {
      file(entry.serviceHost, entry.service.Name);
      file(entry.clientHost, entry.client.Name);
    }
    let text = 'digraph g {\n';
    for (const [host, names] of Array.from(clusters).sort(([a], [b]) => a < b ? -1 : 1)) {
      text += 'subgraph ' + plain('cluster_' + host) + ' {\nlabel = ' + quoted(host) + '\n';
      for (const name of names) {
        text += quoted(host + name) + ' [label=' + plain(name) + ',shape=box]\n';
      }
      text += '}\n';
    }
    for (const entry of matrix) {
      text += quoted(entry.clientHost.Host + entry.client.Name) + ' -> ' +
        quoted(entry.serviceHost.Host + entry.service.Name) + ' [label=' +
        quoted(entry.protocol + ':' + entry.address + ':' + entry.port) + ']\n';
    }
    return text + '}\n';
  }

  function graph(matrix) {
    const id = text => new UUID(5, 'ns:URL', text).toString();
    const nodes = {}, edges = {};
    const process = (host, socket, role) => {
      const suffix = role === 'server' ? 'service' : 'client';
      const key = id(host.Host + socket.Process + suffix);
      if (!nodes[key]) {
        const metadata = {
          Name: socket.Name, Type: 'process', ServiceType: role, Process: socket.Process,
        };
        if (role === 'server') metadata.Ports = [];
        nodes[key] = {ID: key, Host: host.Host, Metadata: metadata};
        const owned = id(host.ID + key);
        edges[owned] = {
          ID: owned, Host: host.Host, Parent: host.ID, Child: key,
          Metadata: {RelationType: 'ownership'},
        };
      }
      return nodes[key];
    };
    for (const entry of matrix) {
      const server = process(entry.serviceHost, entry.service, 'server');
      const user = process(entry.clientHost, entry.client, 'client');
      if (!server.Metadata.Ports.includes(entry.port)) server.Metadata.Ports.push(entry.port);
      const key = id(user.ID + server.ID + entry.port);
      edges[key] = {
        ID: key, Host: server.Host, Parent: user.ID, Child: server.ID,
        Metadata: {RelationType: 'connection', Port: entry.port},
      };
    }
    return {nodes, edges};
  }
}
