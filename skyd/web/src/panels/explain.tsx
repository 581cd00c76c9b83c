// The plan of a query: what each step read and found, and how long it took.

import { useSignal } from "@preact/signals";
import { atTime } from "../net/gremlin.ts";
import { errorText, json } from "../net/rest.ts";
import { type Json, listOf, member, numberOf, textOf, textsOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { notify } from "../state/notices.ts";
import { pastTime, queryText } from "../state/view.ts";
import { Grid } from "./details/tables.tsx";

export function Explain() {
  const plan = useSignal<Json | undefined>(undefined);
  const run = async () => {
    try {
      plan.value = await json("POST", "/api/topology", {
        GremlinQuery: atTime(queryText.value, pastTime.value),
        Explain: true,
      });
    } catch (error) {
      notify(errorText(error));
    }
  };
  const rows = listOf(plan.value, "Steps").map((step) => [
    <code>{label([textOf(step, "Step"), ...textsOf(step, "Absorbed")].join("."), 200)}</code>,
    label(listOf(step, "Operations").map(operation).join("; "), 300),
    count(step, "Estimated"),
    count(step, "Out"),
    `${numberOf(step, "Microseconds")} µs`,
  ]);
  return (
    <>
      <button type="button" onClick={() => void run()}>
        Explain
      </button>
      {plan.value !== undefined && (
        <Grid name="Plan" columns={["Step", "Operations", "Estimated", "Found", "Time"]} rows={rows} />
      )}
    </>
  );
}

function operation(value: Json): string {
  const access = member(value, "Access");
  const key = textOf(access, "Key");
  const how = access === undefined ? "" : ` (${textOf(access, "Kind")}${key === "" ? "" : ` ${key}`})`;
  return `${textOf(value, "Operation")}${how}`;
}

function count(step: Json, key: string): string {
  const value = member(step, key);
  return typeof value === "number" ? String(value) : "";
}
