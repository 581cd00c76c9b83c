// Completion of Gremlin queries: steps, keys, and values at the end of a text. Pure.
//
// The steps are those of docs/gremlin.md; which ones can follow is decided by what the step before
// returns. Keys and values are those of the graph.

type Kind = "graph" | "nodes" | "edges" | "flows" | "groups" | "other";

const FILTERS = ["Has", "HasKey", "HasNot", "HasEither", "Dedup", "Limit", "Range", "Count"];
const VALUES = ["Sort", "Values", "ValueMap", "Keys", "Sum"];

/** Steps that can follow each kind of result. */
const STEPS: Record<Kind, string[]> = {
  graph: ["V", "E", "Flows", "At", "Context", "Changes"],
  nodes: [
    ...FILTERS,
    ...VALUES,
    "Out",
    "In",
    "Both",
    "OutE",
    "InE",
    "BothE",
    "As",
    "Select",
    "SubGraph",
    "ShortestPathTo",
    "PathTo",
    "Qualified",
    "Descendants",
    "Ascendants",
    "Neighbors",
    "Flows",
    "Metrics",
    "Sockets",
    "NextHop",
  ],
  edges: [...FILTERS, "InV", "OutV", "BothV", "SubGraph"],
  flows: [
    "Has",
    "HasEither",
    "Dedup",
    "Limit",
    "Range",
    "Count",
    "Sort",
    "Values",
    "Keys",
    "Sum",
    "Out",
    "In",
    "Both",
    "Nodes",
    "Hops",
    "CaptureNode",
    "GroupBy",
    "Group",
    "Metrics",
    "RawPackets",
    "Sockets",
  ],
  groups: ["Sum", "Rate", "Count", "Sort", "Limit", "Range", "Has", "Values"],
  other: ["Count", "Sum", "Keys", "Aggregates", "BPF", "MoreThan", "Has", "Values", "Limit", "Qualified"],
};

/** What steps return, unless it is what they take. */
const RETURNS: Record<string, Kind> = {
  V: "nodes",
  E: "edges",
  Flows: "flows",
  At: "graph",
  Context: "graph",
  OutE: "edges",
  InE: "edges",
  BothE: "edges",
  InV: "nodes",
  OutV: "nodes",
  BothV: "nodes",
  Out: "nodes",
  In: "nodes",
  Both: "nodes",
  Nodes: "nodes",
  Hops: "nodes",
  CaptureNode: "nodes",
  SubGraph: "graph",
  Descendants: "nodes",
  Ascendants: "nodes",
  Neighbors: "nodes",
  Values: "other",
  ValueMap: "other",
  Keys: "other",
  Metrics: "other",
  Sockets: "other",
  RawPackets: "other",
  Group: "other",
  GroupBy: "groups",
  Changes: "other",
  PathTo: "other",
  ShortestPathTo: "other",
  NextHop: "other",
  Count: "other",
  Sum: "other",
};

/** Fields of flows that queries often name. */
const FLOW_KEYS = [
  "Application",
  "CaptureID",
  "LayersPath",
  "Link",
  "Link.A",
  "Link.B",
  "Metric.ABBytes",
  "Metric.BABytes",
  "Network",
  "Network.A",
  "Network.B",
  "Network.Protocol",
  "NodeTID",
  "TrackingID",
  "Transport",
  "Transport.A",
  "Transport.B",
  "Transport.Protocol",
  "UUID",
];

/** Keys of the step `GroupBy` that are no fields of flows. */
const GROUP_KEYS = [
  "Network",
  "Port",
  ...["Node", "Namespace", "Container", "Host"].flatMap((key) => [key, `${key}.A`, `${key}.B`]),
];

/** Source of the keys and values. */
export interface Vocabulary {
  /** Keys of the metadata of nodes and edges. */
  keys: () => string[];
  /** Values of a key. */
  values: (key: string) => string[];
}

export interface Completion {
  /** Position in the text from which an option replaces it. */
  start: number;
  options: string[];
}

const MAX_OPTIONS = 12;

/** Returns the completions at the end of a query. */
export function complete(text: string, vocabulary: Vocabulary): Completion {
  const step = /\.\s*(\w*)$/.exec(text);
  if (step && !isInString(text)) {
    const [, prefix = ""] = step;
    const head = text.slice(0, text.length - prefix.length);
    return { start: head.length, options: pick(STEPS[kindOf(head)], prefix) };
  }
  const argument = /(\w+)\(([^()]*)(['"])([^'"()]*)$/.exec(text);
  if (!argument || !isInString(text)) {
    return { start: text.length, options: [] };
  }
  const [, name = "", before = "", quote = "'", prefix = ""] = argument;
  const start = text.length - prefix.length;
  const earlier = [...before.matchAll(/(['"])(.*?)\1/g)].map((match) => match[2] ?? "");
  const isKey = !/^Has(Either)?$/.test(name) || earlier.length % 2 === 0;
  const kind = kindOf(text.slice(0, argument.index));
  const words = isKey ? keysFor(name, kind, vocabulary) : vocabulary.values(earlier.at(-1) ?? "");
  const isWritable = (word: string) => !word.includes(quote) && !/[\\\u0000-\u001f]/.test(word);
  return { start, options: pick(words.filter(isWritable), prefix).map((word) => word + quote) };
}

/** Returns the keys that an argument of a step can be. */
function keysFor(step: string, kind: Kind, vocabulary: Vocabulary): string[] {
  if (step === "GroupBy") {
    return [...GROUP_KEYS, ...FLOW_KEYS].sort();
  }
  return kind === "flows" ? FLOW_KEYS : kind === "groups" ? ["Bytes", "Packets", "Connections"] : vocabulary.keys();
}

/** Returns whether a text ends inside a string. */
function isInString(text: string): boolean {
  let quote = "";
  for (const character of text) {
    if (quote === "" && (character === "'" || character === '"')) {
      quote = character;
    } else if (character === quote) {
      quote = "";
    }
  }
  return quote !== "";
}

/** Returns what the steps of an unfinished query return. */
function kindOf(text: string): Kind {
  const steps = text.replace(/(['"]).*?\1/g, "").match(/\b\w+(?=\()/g) ?? [];
  return steps.reduce<Kind>((kind, step) => {
    // Sums and counts of groups are columns, not values.
    return kind === "groups" && step !== "Values" ? kind : (RETURNS[step] ?? kind);
  }, "graph");
}

function pick(words: string[], prefix: string): string[] {
  const wanted = prefix.toLowerCase();
  return words.filter((word) => word.toLowerCase().startsWith(wanted) && word !== prefix).slice(0, MAX_OPTIONS);
}
