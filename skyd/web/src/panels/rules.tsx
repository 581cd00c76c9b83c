// Rules: nodes and edges that the daemon adds to the graph, and metadata that it adds to nodes.

import { useSignal, useSignalEffect } from "@preact/signals";
import { atTime } from "../net/gremlin.ts";
import { ChoiceField, TextField, formText } from "../parts/field.tsx";
import { type JsonObject, member, textOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { watchAnswer } from "../state/flow_table.ts";
import { Resources } from "../state/resources.ts";
import { pastTime } from "../state/view.ts";
import { ResourceList } from "./resource_list.tsx";

const nodeRules = new Resources("noderule", true, false);
const edgeRules = new Resources("edgerule", true, false);
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
          <Matches key={textOf(rule, "Query")} gremlin={textOf(rule, "Query")} />,
        ]}
        fields={(rule) => <NodeRuleFields rule={rule} />}
        read={(form) => ({
          ...named(form),
          Action: formText(form, "Action"),
          Query: formText(form, "Query"),
          Metadata: metadata(form),
        })}
        canEdit
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
            <Matches key={textOf(rule, "Src")} gremlin={textOf(rule, "Src")} /> →{" "}
            <Matches key={textOf(rule, "Dst")} gremlin={textOf(rule, "Dst")} />
          </>,
        ]}
        fields={(rule) => <EdgeRuleFields rule={rule} />}
        read={(form) => ({
          ...named(form),
          Src: formText(form, "Src"),
          Dst: formText(form, "Dst"),
          Metadata: metadata(form),
        })}
        canEdit
        help="No edge rules. An edge rule links the first nodes of two queries."
      />
    </div>
  );
}

type RuleProps = { rule: JsonObject | undefined };

function NodeRuleFields({ rule }: RuleProps) {
  return (
    <>
      <NameFields rule={rule} />
      <ChoiceField label="Action" name="Action" options={ACTIONS} value={textOf(rule, "Action") || "create"} />
      <TextField
        label="Nodes"
        name="Query"
        value={textOf(rule, "Query")}
        hint="For an update: a Gremlin query of the nodes."
      />
      <MetadataField
        rule={rule}
        initial='{"Name": "", "Type": ""}'
        hint="A JSON object. A new node needs Name and Type; an update may not contain them."
      />
    </>
  );
}

function EdgeRuleFields({ rule }: RuleProps) {
  const hint = "A Gremlin query; its first node is linked.";
  return (
    <>
      <NameFields rule={rule} />
      <TextField label="Source" name="Src" value={textOf(rule, "Src")} isRequired hint={hint} />
      <TextField label="Destination" name="Dst" value={textOf(rule, "Dst")} isRequired hint={hint} />
      <MetadataField rule={rule} initial='{"RelationType": "layer2"}' hint="A JSON object with RelationType." />
    </>
  );
}

function NameFields({ rule }: RuleProps) {
  return (
    <>
      <TextField label="Name" name="Name" value={textOf(rule, "Name")} isRequired />
      <TextField label="Description" name="Description" value={textOf(rule, "Description")} />
    </>
  );
}

function MetadataField({ rule, initial, hint }: RuleProps & { initial: string; hint: string }) {
  const value = rule ? JSON.stringify(member(rule, "Metadata") ?? {}, null, 2) : initial;
  return <TextField label="Metadata" name="Metadata" value={value} lines={4} hint={hint} />;
}

/** The number of nodes that a query finds at the shown time; follows the graph in the present. */
function Matches({ gremlin }: { gremlin: string }) {
  const count = useSignal("");
  useSignalEffect(() => {
    const time = pastTime.value;
    return watchAnswer(atTime(`${gremlin}.Count()`, time), time === null, ([found], error) => {
      count.value = error === "" ? String(found ?? "") : "?";
    });
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
