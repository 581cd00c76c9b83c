// Checks that the flows of a connection pass every node of a path, or two checkpoints.
function FlowValidation(cp1, cp2, all, protocol, srcIP, dstIP, id, interval) {
  let capture = null;
  try {
    const V = client.G.V();
    let nodes;
    if (cp2 == null || cp2 === '') nodes = V.Has('TID', cp1);
    else if (!all) nodes = V.Has('TID', WITHIN(cp1, cp2));
    else {
      nodes = V.Has('TID', cp1)
        .ShortestPathTo(Metadata('TID', cp2), Metadata('RelationType', 'layer2'));
    }
    const expected = nodes.result().flat();

    let filter = protocol || 'icmp';
    if (srcIP) filter += ' and (src ' + srcIP + ' or dst ' + srcIP + ')';
    if (dstIP) filter += ' and (src ' + dstIP + ' or dst ' + dstIP + ')';
    if (id) filter += filter.startsWith('icmp') ? ' and icmp[4:2]=' + id : ' and port ' + id;
    capture = client.captures.create({
      GremlinQuery: nodes.toString(),
      BPFFilter: '(' + filter + ') or (vlan and ' + filter + ')',
      SamplingRate: 1,
      PollingInterval: 10,
    });
    if (!capture) throw new Error('cannot create the capture');
    sleep(1000 * (Number(interval) || 0));

    const captured = V.Has('Captures.ID', capture.UUID, 'Type', NE('ovsport')).result();
    if (!captured.length) return {Error: 'No node with capture'};
    let notCaptured = [];
    if (captured.length !== expected.length) {
      notCaptured = expected.filter(node => node.Metadata.State === 'DOWN');
    }

    const flows = client.G.Flows().Has('CaptureID', capture.UUID);
    let seen = flows.CaptureNode().Dedup().result();
    if (seen.length === captured.length && protocol !== 'udp') {
      seen = flows.Has('Metric.ABPackets', GT(0), 'Metric.BAPackets', GT(0)).CaptureNode().Dedup()
        .result();
    }
    let notReached = [];
    if (seen.length !== captured.length) {
      const ids = new Set(seen.map(node => node.ID));
      notReached = captured.filter(node => !ids.has(node.ID));
    }
    if (!notReached.length && !notCaptured.length) return {Connectivity: true};
    const result = {Connectivity: false, NotReachedNodes: notReached.concat(notCaptured)};
    if (notCaptured.length) result.NotCapturedNodes = notCaptured;
    return result;
  } catch (error) {
    return {Error: JSON.stringify({message: String(error && error.message || error)})};
  } finally {
    if (capture) client.captures.delete(capture.UUID);
  }
}
