// Returns whether the MTU never falls along the path: a packet that fits at the start then arrives.
function CheckMTU(from, to) {
  if (from == null || to == null) return true;
  const path = client.G.V().Has('TID', from).ShortestPathTo(Metadata('TID', to)).result()[0] || [];
  for (let i = 1; i < path.length; i++) {
    // A missing MTU compares as neither.
    if (path[i].Metadata.MTU < path[i - 1].Metadata.MTU) return false;
  }
  return true;
}
