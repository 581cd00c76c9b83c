// Rules: nodes and edges that the daemon adds to the graph, and metadata that it adds to nodes.

import { useSignal, useSignalEffect } from "@preact/signals";
import { query } from "../net/rest.ts";
import { ChoiceField, TextField, formText } from "../parts/field.tsx";
import { type JsonObject, member, textOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { Resources } from "../state/resources.ts";
import { structureVersion } from "../state/session.ts";
import { ResourceList } from "./resource_list.tsx";

const nodeRules = new Resources("noderule");
const edgeRules = new Resources("edgerule");
const ACTIONS: [string, string][] = [
  ["create", "Create a node"],
  ["update", "Update nodes"],
];

export function Rules() {
  return (
    <div class="stack">
      <ResourceList
        resources={nodeRules}
        noun="node rule"
        columns={["Name", "Action", "Nodes", "Metadata", "Matches now"]}
        cells={(rule) => [
          label(textOf(rule, "Name"), 80),
          label(textOf(rule, "Action"), 20),
          <code>{label(textOf(rule, "Query"), 200)}</code>,
          <code>{label(JSON.stringify(member(rule, "Metadata") ?? null), 200)}</code>,
          <Matches gremlin={textOf(rule, "Query")} />,
        ]}
        fields={() => (
          <>
            <TextField label="Name" name="Name" isRequired />
            <TextField label="Description" name="Description" />
            <ChoiceField label="Action" name="Action" options={ACTIONS} />
            <TextField label="Nodes" name="Query" hint="For an update: a Gremlin query of the nodes." />
            <TextField
              label="Metadata"
              name="Metadata"
              value={'{"Name": "", "Type": ""}'}
              lines={4}
              hint="A JSON object. A new node needs Name and Type; an update may not contain them."
            />
          </>
        )}
        read={(form) => ({
          ...named(form),
          Action: formText(form, "Action"),
          Query: formText(form, "Query"),
          Metadata: metadata(form),
        })}
        canEdit={false}
        help="No node rules. A node rule creates a node, or adds metadata to nodes."
      />
      <ResourceList
        resources={edgeRules}
        noun="edge rule"
        columns={["Name", "Source", "Destination", "Metadata", "Matches now"]}
        cells={(rule) => [
          label(textOf(rule, "Name"), 80),
          <code>{label(textOf(rule, "Src"), 200)}</code>,
          <code>{label(textOf(rule, "Dst"), 200)}</code>,
          <code>{label(JSON.stringify(member(rule, "Metadata") ?? null), 200)}</code>,
          <>
            <Matches gremlin={textOf(rule, "Src")} /> → <Matches gremlin={textOf(rule, "Dst")} />
          </>,
        ]}
        fields={() => (
          <>
            <TextField label="Name" name="Name" isRequired />
            <TextField label="Description" name="Description" />
            <TextField label="Source" name="Src" isRequired hint="A Gremlin query; its first node is linked." />
            <TextField label="Destination" name="Dst" isRequired hint="A Gremlin query; its first node is linked." />
            <TextField
              label="Metadata"
              name="Metadata"
              value={'{"RelationType": "layer2"}'}
              lines={3}
              hint="A JSON object with RelationType."
            />
          </>
        )}
        read={(form) => ({
          ...named(form),
          Src: formText(form, "Src"),
          Dst: formText(form, "Dst"),
          Metadata: metadata(form),
        })}
        canEdit={false}
        help="No edge rules. An edge rule links the first nodes of two queries."
      />
    </div>
  );
}

/** The number of nodes that a query finds now. */
function Matches({ gremlin }: { gremlin: string }) {
  const count = useSignal("");
  useSignalEffect(() => {
    structureVersion.value;
    if (gremlin !== "") {
      query(`${gremlin}.Count()`)
        .then((answer) => (count.value = String(answer)))
        .catch(() => (count.value = "?"));
    }
  });
  return <>{count.value}</>;
}

function named(form: FormData): JsonObject {
  return { Name: formText(form, "Name"), Description: formText(form, "Description") };
}

/** Returns the metadata of a form. Throws an `Error` if it is not a JSON object. */
function metadata(form: FormData): JsonObject {
  try {
    return JSON.parse(formText(form, "Metadata") || "{}") as JsonObject;
  } catch (error) {
    throw new Error(`Metadata is not valid JSON: ${error instanceof Error ? error.message : ""}`);
  }
}
