// Texts of Gremlin queries that the page builds. Pure.

/** Returns a text as a Gremlin literal; `undefined` if it contains both kinds of quotes, a backslash,
 * or control characters, which the language cannot express. */
export function literal(text: string): string | undefined {
  if (/[\u0000-\u001f\\]/.test(text)) {
    return undefined;
  }
  if (!text.includes("'")) {
    return `'${text}'`;
  }
  return text.includes('"') ? undefined : `"${text}"`;
}

interface Queried {
  id: string;
  tid: string;
  metadata: object;
}

/** Returns the query of one node, by its stable id if that can be written, else by its id. */
export function nodeQuery(node: Queried): string {
  const tid = Object.hasOwn(node.metadata, "TID") ? literal(node.tid) : undefined;
  return tid ? `G.V().Has('TID', ${tid})` : `G.V(${literal(node.id) ?? "''"})`;
}

/** Returns the query of several nodes; `undefined` if one has no stable id, or none that can be written. */
export function nodesQuery(nodes: readonly Queried[]): string | undefined {
  const [first] = nodes;
  if (first === undefined || nodes.length === 1) {
    return first && nodeQuery(first);
  }
  const tids = nodes.map((node) => (Object.hasOwn(node.metadata, "TID") ? literal(node.tid) : undefined));
  return tids.every((tid) => tid !== undefined) ? `G.V().Has('TID', Within(${tids.join(", ")}))` : undefined;
}

/** Returns a query with its source at a time in the past; unchanged for the present. */
export function atTime(gremlin: string, time: number | null): string {
  return time === null ? gremlin : gremlin.replace(/^\s*[Gg]\b/, `G.At(${Math.round(time)})`);
}

/** Returns whether a text of the search field is a Gremlin query. */
export function isGremlin(text: string): boolean {
  return /^\s*[Gg]\s*\./.test(text);
}

/** Returns whether a text is an IPv4 or IPv6 address. */
export function isAddress(text: string): boolean {
  const trimmed = text.trim();
  const isIpv4 = /^\d{1,3}(\.\d{1,3}){3}$/.test(trimmed) && trimmed.split(".").every((part) => Number(part) < 256);
  return isIpv4 || (/^[0-9a-f:.]+$/i.test(trimmed) && trimmed.split(":").length > 2);
}

/** Returns the position in UTF-16 units of a byte offset in UTF-8. */
export function characterAt(text: string, byteOffset: number): number {
  const bytes = new TextEncoder().encode(text).slice(0, byteOffset);
  return new TextDecoder().decode(bytes).length;
}

/** Returns the byte offset that the daemon's error text names; `undefined` if it names none. */
export function errorOffset(text: string): number | undefined {
  const found = /^at byte (\d+)/m.exec(text);
  return found ? Number(found[1]) : undefined;
}
