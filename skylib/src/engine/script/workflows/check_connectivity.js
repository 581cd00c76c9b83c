// Captures along the path between two nodes and sends five pings from one to the other.
function CheckConnectivity(from, to) {
  let capture = null, injection = null;
  try {
    const query = id => "G.V().Has('TID', '" + id + "')";
    capture = client.captures.create({
      GremlinQuery: query(from) + ".ShortestPathTo(Metadata('TID', '" + to + "'))",
    });
    if (!capture) throw new Error('cannot create the capture');
    sleep(1000);
    const id = Math.floor(Math.random() * 1000) || 1;
    injection = client.packetInjections.create({
      Src: query(from), Dst: query(to), Type: 'icmp4', Count: 5, ICMPID: id, TTL: 64,
    });
    sleep(1000);
    const flows = client.G.Flows().Has('CaptureID', capture.UUID).Dedup().result();
    // Other flows on the path, such as ARP, do not prove connectivity.
    const isAnswered = flow => flow.Application === 'ICMPv4' && flow.ICMP && flow.ICMP.ID === id &&
      flow.Metric && flow.Metric.ABPackets > 0 && flow.Metric.BAPackets > 0;
    return {Connectivity: flows.some(isAnswered), Flows: flows};
  } catch (error) {
    return {Error: JSON.stringify({message: String(error && error.message || error)})};
  } finally {
    if (injection) client.packetInjections.delete(injection.UUID);
    if (capture) client.captures.delete(capture.UUID);
  }
}
