// Workflows: scripts that the daemon runs, with a form for their parameters.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { now } from "../parts/clock.ts";
import { CopyButton } from "../parts/copy.tsx";
import { ErrorText } from "../parts/error_text.tsx";
import { CheckField, ChoiceField, NumberField, TextField, formText } from "../parts/field.tsx";
import { type Json, type JsonObject, listOf, member, textOf } from "../parts/json.ts";
import { label, multiline } from "../parts/names.ts";
import { saveFile } from "../parts/save.ts";
import { duration } from "../parts/units.ts";
import { refusal } from "../state/me.ts";
import { Resources } from "../state/resources.ts";
import { model, structureVersion } from "../state/session.ts";
import { selection } from "../state/view.ts";
import { callWorkflow, calls } from "../state/workflow_calls.ts";
import { Raw } from "./details/tables.tsx";

const workflows = new Resources("workflow");

export function Workflows() {
  const chosen = useSignal("");
  useEffect(() => workflows.follow(), []);
  const list = workflows.list.value;
  const workflow = list.find((item) => textOf(item, "UUID") === chosen.value) ?? list[0];
  if (!workflow) {
    return (
      <p class="note">
        No workflows. Add one with POST /api/workflow: a script with named parameters, for which this panel shows a
        form.
      </p>
    );
  }
  return (
    <div class="columns">
      <div>
        <p class="field">
          <label for="workflow">Workflow</label>
          <select
            id="workflow"
            value={textOf(workflow, "UUID")}
            onChange={(event) => (chosen.value = event.currentTarget.value)}
          >
            {list.map((item) => (
              <option key={textOf(item, "UUID")} value={textOf(item, "UUID")}>
                {label(textOf(item, "Title") || textOf(item, "Name"), 80)}
              </option>
            ))}
          </select>
        </p>
        <p>{label(textOf(workflow, "Abstract") || textOf(workflow, "Description"), 600)}</p>
      </div>
      <Run key={textOf(workflow, "UUID")} workflow={workflow} />
    </div>
  );
}

/** The form of a workflow, and its answer. */
function Run({ workflow }: { workflow: JsonObject }) {
  const [uuid, name] = [textOf(workflow, "UUID"), label(textOf(workflow, "Name"), 80)];
  const call = calls.value.get(uuid);
  const reason = refusal("workflow.call");
  const parameters = listOf(workflow, "Parameters");
  const submit = (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    void callWorkflow(
      uuid,
      parameters.map((parameter, index) => valueOf(parameter, form, `parameter-${index}`)),
    );
  };
  return (
    <div>
      <form aria-label={name} onSubmit={submit}>
        {parameters.map((parameter, index) => (
          <ParameterField key={index} parameter={parameter} name={`parameter-${index}`} />
        ))}
        <button type="submit" class="primary" disabled={call?.end !== undefined || reason !== undefined} title={reason}>
          Run
        </button>
        {call?.end && (
          <>
            {" "}
            <button type="button" onClick={() => call.end?.abort()}>
              Cancel
            </button>{" "}
            <span role="status" aria-label="Workflow progress">
              Running for {duration(Math.max(now.value - call.since, 0))}
            </span>
          </>
        )}
      </form>
      <ErrorText text={call?.error ?? ""} />
      {call?.answer !== undefined && <Answer name={name} answer={call.answer} />}
    </div>
  );
}

/** What a workflow returned: a text as it is, for example a graph in the DOT format, else JSON. */
function Answer({ name, answer }: { name: string; answer: Json }) {
  const isText = typeof answer === "string";
  const text = isText ? answer : JSON.stringify(answer, null, 2);
  const type = isText ? "text/plain" : "application/json";
  const save = () => saveFile(`${name}.${isText ? "txt" : "json"}`, new Blob([text], { type }));
  return (
    <section aria-label="Workflow result">
      <button type="button" onClick={save}>
        Save
      </button>{" "}
      <CopyButton name="result" text={text} label="Copy" />
      {isText ? <pre class="raw">{multiline(answer)}</pre> : <Raw value={answer} />}
    </section>
  );
}

function ParameterField({ parameter, name }: { parameter: Json; name: string }) {
  const [title, hint] = [label(textOf(parameter, "Name"), 80), label(textOf(parameter, "Description"), 200)];
  const initial = member(parameter, "Default");
  switch (textOf(parameter, "Type")) {
    case "boolean":
      return <CheckField label={hint || title} name={name} isChecked={initial === true} />;
    case "integer":
    case "number":
    case "date":
      return (
        <NumberField
          label={title}
          name={name}
          hint={hint}
          value={typeof initial === "number" ? initial : undefined}
          min={Number.MIN_SAFE_INTEGER}
        />
      );
    case "choice": {
      const options = listOf(parameter, "Values").map((value): [string, string] => [
        textOf(value, "Value"),
        label(textOf(value, "Description") || textOf(value, "Value"), 80),
      ]);
      return (
        <ChoiceField
          label={title}
          name={name}
          hint={hint}
          options={options}
          value={typeof initial === "string" ? initial : ""}
        />
      );
    }
    case "node":
      return <NodeField title={title} name={name} hint={hint} initial={typeof initial === "string" ? initial : ""} />;
    default:
      return (
        <TextField
          label={title}
          name={name}
          hint={hint}
          value={initial === undefined || initial === null ? "" : String(initial)}
        />
      );
  }
}

interface NodeFieldProps {
  title: string;
  name: string;
  hint: string;
  initial: string;
}

/** A field for the stable id of a node, which a button fills with that of the selected node. */
function NodeField({ title, name, hint, initial }: NodeFieldProps) {
  const text = useSignal(initial);
  structureVersion.value;
  const [node, selected] = [model.find(text.value), model.find(selection.value)];
  const id = `field-${name}`;
  return (
    <p class="field">
      <label for={id}>{title}</label>
      <span class="row-actions">
        <input
          type="text"
          id={id}
          name={name}
          value={text.value}
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => (text.value = event.currentTarget.value)}
        />
        <button
          type="button"
          disabled={!selected}
          title={selected ? label(selected.name, 60) : "Select a node in the tree or the graph first"}
          aria-label={`Use the selected node as ${title}`}
          onClick={() => selected && (text.value = selected.tid)}
        >
          Use the selected node
        </button>
      </span>
      <small>{node ? `${label(node.name, 60)}, ${label(node.type, 30)}` : hint || "The TID of a node."}</small>
    </p>
  );
}

/** Returns the value of a parameter in the type that the workflow expects. */
function valueOf(parameter: Json, form: FormData, name: string): Json {
  const text = formText(form, name);
  switch (textOf(parameter, "Type")) {
    case "boolean":
      return form.has(name);
    case "integer":
    case "number":
    case "date":
      return text === "" ? null : Number(text);
    default:
      return text;
  }
}
