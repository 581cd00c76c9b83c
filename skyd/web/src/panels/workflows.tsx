// Workflows: scripts that the daemon runs, with a form for their parameters.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { errorText, json } from "../net/rest.ts";
import { CopyButton } from "../parts/copy.tsx";
import { CheckField, ChoiceField, NumberField, TextField, formText } from "../parts/field.tsx";
import { type Json, type JsonObject, listOf, member, textOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { saveFile } from "../parts/save.ts";
import { refusal } from "../state/me.ts";
import { Resources } from "../state/resources.ts";
import { Raw } from "./details/tables.tsx";

const workflows = new Resources("workflow");

export function Workflows() {
  const chosen = useSignal("");
  useEffect(() => void workflows.load(), []);
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
  const answer = useSignal<Json | undefined>(undefined);
  const error = useSignal("");
  const isRunning = useSignal(false);
  const reason = refusal("workflow.call");
  const parameters = listOf(workflow, "Parameters");
  const submit = async (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    error.value = "";
    answer.value = undefined;
    isRunning.value = true;
    try {
      const values = parameters.map((parameter, index) => valueOf(parameter, form, `parameter-${index}`));
      answer.value = await json(
        "POST",
        `/api/workflow/${encodeURIComponent(textOf(workflow, "UUID"))}/call`,
        { Params: values },
        120_000,
      );
    } catch (failure) {
      error.value = errorText(failure);
    } finally {
      isRunning.value = false;
    }
  };
  const text = JSON.stringify(answer.value ?? null, null, 2);
  const save = () => saveFile(`${textOf(workflow, "Name")}.json`, new Blob([text], { type: "application/json" }));
  return (
    <div>
      <form aria-label={label(textOf(workflow, "Name"), 80)} onSubmit={submit}>
        {parameters.map((parameter, index) => (
          <ParameterField key={index} parameter={parameter} name={`parameter-${index}`} />
        ))}
        <button type="submit" class="primary" disabled={isRunning.value || reason !== undefined} title={reason}>
          {isRunning.value ? "Running …" : "Run"}
        </button>
      </form>
      {error.value !== "" && (
        <p class="error" role="alert">
          {error.value}
        </p>
      )}
      {answer.value !== undefined && (
        <section aria-label="Workflow result">
          <button type="button" onClick={save}>
            Save
          </button>{" "}
          <CopyButton name="result" text={text} label="Copy" />
          <Raw value={answer.value} />
        </section>
      )}
    </div>
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
      return (
        <TextField
          label={title}
          name={name}
          hint={hint || "The TID of a node."}
          value={typeof initial === "string" ? initial : ""}
        />
      );
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
