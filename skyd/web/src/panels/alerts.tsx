// Alerts: expressions that the daemon evaluates, and what they reported.

import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { errorText, query } from "../net/rest.ts";
import { ChoiceField, TextField, formText } from "../parts/field.tsx";
import { type JsonObject, textOf } from "../parts/json.ts";
import { Moment, MomentText } from "../parts/moment.tsx";
import { label } from "../parts/names.ts";
import { firings } from "../state/alerts.ts";
import { Resources } from "../state/resources.ts";
import { Grid } from "./details/tables.tsx";
import { ResourceList } from "./resource_list.tsx";

const alerts = new Resources("alert");
const TRIGGERS: [string, string][] = [
  ["graph", "At each change of the graph"],
  ["duration", "Regularly"],
];

export function Alerts() {
  return (
    <div class="stack">
      <ResourceList
        resources={alerts}
        noun="alert"
        columns={["Name", "Expression", "Trigger", "Action"]}
        cells={(alert) => [
          label(textOf(alert, "Name"), 80),
          <code>{label(textOf(alert, "Expression"), 200)}</code>,
          label(textOf(alert, "Trigger") || "graph", 40),
          label(textOf(alert, "Action"), 100),
        ]}
        fields={(alert) => <AlertFields alert={alert} />}
        read={read}
        canEdit
        help="No alerts. An alert evaluates a Gremlin or JavaScript expression and reports when its result changes."
      />
      {firings.value.length > 0 && (
        <Grid
          name="Reported alerts"
          columns={["Time", "Alert", "Result"]}
          rows={firings.value.map((firing) => [
            <MomentText moment={new Moment(firing.time)} />,
            label(firing.name, 80),
            <code>{label(firing.reason, 300)}</code>,
          ])}
        />
      )}
    </div>
  );
}

function AlertFields({ alert }: { alert: JsonObject | undefined }) {
  const trigger = textOf(alert, "Trigger");
  const [kind = "graph", interval = "5s"] = trigger.split(":");
  return (
    <>
      <TextField label="Name" name="Name" value={textOf(alert, "Name")} />
      <TextField label="Description" name="Description" value={textOf(alert, "Description")} />
      <TextField
        label="Expression"
        name="Expression"
        value={textOf(alert, "Expression")}
        isRequired
        lines={3}
        hint="Gremlin, or JavaScript if it is not valid Gremlin."
      />
      <Trial />
      <div class="fields">
        <ChoiceField label="Trigger" name="Trigger" options={TRIGGERS} value={kind || "graph"} />
        <TextField label="Interval" name="Interval" value={interval} hint="For a regular trigger: 5s, 1m" />
      </div>
      <TextField
        label="Action"
        name="Action"
        value={textOf(alert, "Action")}
        hint="http://, https://, or file:// address that receives the report; empty for none."
      />
    </>
  );
}

/** A button that runs the expression of the form as a query. */
function Trial() {
  const button = useRef<HTMLButtonElement>(null);
  const result = useSignal("");
  const run = async () => {
    const form = button.current?.closest("form");
    const text = form ? formText(new FormData(form), "Expression") : "";
    try {
      const answer = await query(text);
      result.value = Array.isArray(answer)
        ? `${answer.length} results now: the alert would ${answer.length > 0 ? "fire" : "not fire"}.`
        : `Result now: ${label(JSON.stringify(answer), 200)}`;
    } catch (error) {
      result.value = errorText(error);
    }
  };
  return (
    <p class="trial">
      <button type="button" ref={button} onClick={() => void run()}>
        Try as Gremlin
      </button>{" "}
      <span role="status" aria-label="Trial">
        {result.value}
      </span>
    </p>
  );
}

function read(form: FormData): JsonObject {
  const trigger = formText(form, "Trigger");
  return {
    Name: formText(form, "Name"),
    Description: formText(form, "Description"),
    Expression: formText(form, "Expression"),
    Action: formText(form, "Action"),
    Trigger: trigger === "duration" ? `duration:${formText(form, "Interval") || "5s"}` : trigger,
  };
}
