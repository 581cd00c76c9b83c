// Details of a node: actions, and sections of its metadata.

import { capturesOf } from "../../graph/capture.ts";
import { type GraphNode, OWNERSHIP } from "../../graph/model.ts";
import { nodeQuery } from "../../net/gremlin.ts";
import { CopyButton } from "../../parts/copy.tsx";
import { FamilyIcon } from "../../parts/icon.tsx";
import { type Json, isObject, member } from "../../parts/json.ts";
import { label, visible } from "../../parts/names.ts";
import { Moment } from "../../parts/moment.tsx";
import { type Section, Tabs } from "../../parts/tabs.tsx";
import { contentVersion, model } from "../../state/session.ts";
import { select, tab } from "../../state/view.ts";
import { isDown } from "../../graph/scene.ts";
import { NodeActions } from "./actions.tsx";
import { Addresses, Features, Forwarding, Neighbors, Other, Raw, Routes, ValueTable } from "./tables.tsx";
import { Captures } from "./captures.tsx";
import { Links } from "./links.tsx";
import { Metrics } from "./metrics.tsx";
import { NodeFlows } from "./flows.tsx";
import { Rules, rulesOf } from "./rules.tsx";
import { Sockets, socketsOf } from "./sockets.tsx";

export function NodeDetails({ node }: { node: GraphNode }) {
  contentVersion.value;
  return (
    <>
      <header>
        <h2>
          <FamilyIcon family={node.family} isDown={isDown(node)} /> <bdi>{visible(node.name)}</bdi>
        </h2>
        <button type="button" class="close" aria-label="Close details" onClick={() => select(null)}>
          ×
        </button>
      </header>
      <p class="crumbs">{crumbs(node)}</p>
      <div class="toolbar">
        <NodeActions nodes={[node]} />
        <CopyButton name="Gremlin" text={nodeQuery(node)} label="Copy Gremlin" />
      </div>
      <Tabs label="Details sections" sections={sections(node)} open={tab.value} onOpen={(name) => (tab.value = name)} />
    </>
  );
}

/** Returns the owners of a node, from the outermost in. */
function crumbs(node: GraphNode): string {
  const owners = model
    .owners(node)
    .reverse()
    .map((owner) => label(owner.name, 60));
  const host = node.host !== "" && owners.length === 0 ? [label(node.host, 60)] : owners;
  return [...host, label(node.type, 40)].join(" › ");
}

/** Keys of metadata that have a section of their own, or that other sections show. */
const KNOWN = [
  "IPV4",
  "IPV6",
  "RoutingTables",
  "Neighbors",
  "FDB",
  "Features",
  "Metric",
  "LastUpdateMetric",
  "Captures",
  "Sockets",
];

function sections(node: GraphNode): Section[] {
  const { metadata } = node;
  const has = (key: string) => {
    const value = member(metadata, key);
    return Array.isArray(value) ? value.length > 0 : isObject(value) && Object.keys(value).length > 0;
  };
  const found: Section[] = [{ name: "Overview", content: () => <ValueTable name="Metadata" rows={overview(node)} /> }];
  const add = (name: string, isShown: boolean, content: Section["content"]) => isShown && found.push({ name, content });
  add("Addresses", has("IPV4") || has("IPV6") || typeof member(metadata, "MAC") === "string", () => (
    <Addresses node={node} />
  ));
  add("Links", [...model.edgesOf(node.id)].length > 0, () => <Links node={node} />);
  add("Routes", has("RoutingTables"), () => <Routes node={node} />);
  add("Neighbours", has("Neighbors"), () => <Neighbors node={node} />);
  add("Forwarding", has("FDB"), () => <Forwarding node={node} />);
  add("Metrics", isObject(member(metadata, "Metric")), () => <Metrics node={node} />);
  add("Flows", node.isCaptured, () => <NodeFlows node={node} />);
  add("Captures", has("Captures"), () => <Captures captures={capturesOf(node)} />);
  add("Sockets", socketsOf(model, node).length > 0, () => <Sockets node={node} />);
  add("Rules", node.family === "bridge" && rulesOf(model, node).length > 0, () => <Rules node={node} />);
  add("Features", has("Features"), () => <Features node={node} />);
  for (const [key, value] of Object.entries(metadata)) {
    const isList = Array.isArray(value) && value.some((item) => typeof item === "object");
    if (!KNOWN.includes(key) && (isList || isObject(value)) && found.length < 30) {
      const name = found.some((section) => section.name === label(key, 40))
        ? `${label(key, 40)} (metadata)`
        : label(key, 40);
      found.push({ name, content: () => <Other name={name} value={value} /> });
    }
  }
  found.push({ name: "Raw", content: () => <Raw value={metadata} /> });
  return found;
}

/** Returns the rows of the overview: simple values, times, and links. */
function overview(node: GraphNode): [string, Json | Moment][] {
  const simple = Object.entries(node.metadata).filter(
    ([, value]) => !isObject(value) && !(Array.isArray(value) && value.some((item) => typeof item === "object")),
  );
  const links = [...model.edgesOf(node.id)].filter((edge) => edge.relation !== OWNERSHIP);
  const names = links.map((edge) => model.nodes.get(edge.parent === node.id ? edge.child : edge.parent)?.name ?? "");
  const rows: [string, Json][] = [["Host", node.host]];
  if (names.length > 0) {
    rows.push(["Linked to", names.slice(0, 20)]);
  }
  const times: [string, Json | Moment][] = [
    ["Created", new Moment(node.createdAt)],
    ["Updated", new Moment(node.updatedAt)],
    ["Revision", node.revision],
    ["ID", node.id],
  ];
  return [
    ...simple.filter(([key]) => FIRST.includes(key)).sort(([a], [b]) => FIRST.indexOf(a) - FIRST.indexOf(b)),
    ...rows,
    ...simple.filter(([key]) => !FIRST.includes(key)),
    ...times,
  ];
}

/** Keys that the overview shows first. */
const FIRST = ["Name", "Type", "State", "MAC", "IPV4", "IPV6", "MTU", "Speed", "Driver"];
