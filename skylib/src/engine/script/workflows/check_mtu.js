// Returns whether the MTU never decreases along the path, so that a packet that fits at the start
// arrives.
function CheckMTU(from, to) {
  if (from == null || to == null) return true;
  // No TID has a quote, and the step could not be written.
  if (/['"]/.test(to)) return true;
  const path = client.G.V().Has('TID', from).ShortestPathTo(Metadata('TID', to)).result()[0] || [];
  for (let i = 1; i < path.length; i++) {
    // Comparisons with a missing MTU are false.
    if (path[i].Metadata.MTU < path[i - 1].Metadata.MTU) return false;
  }
  return true;
}
