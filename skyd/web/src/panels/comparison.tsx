// What was added, removed, and changed between the shown time and another one.

import { useSignal } from "@preact/signals";
import { errorText } from "../net/rest.ts";
import { counted, label } from "../parts/names.ts";
import { useReveal } from "../parts/reveal.ts";
import { dateTime } from "../parts/units.ts";
import { compareWith, comparison, endComparison } from "../state/comparison.ts";
import { parseTime } from "../state/time_text.ts";
import { select } from "../state/view.ts";
import { Grid } from "./details/tables.tsx";

const SIGNS = { added: "+ added", removed: "− removed", changed: "~ changed" };

export function Comparison() {
  const shown = comparison.value;
  const element = useReveal<HTMLElement>(shown);
  if (!shown) {
    return null;
  }
  const rows = shown.differences.map((entry) => [
    SIGNS[entry.difference],
    <button type="button" class="link" onClick={() => select(entry.key)}>
      {label(entry.name)}
    </button>,
    label(entry.type, 40),
    label(entry.keys.join("; "), 300),
  ]);
  const time = shown.time === null ? "now" : dateTime(shown.time);
  const count = counted(rows.length, "difference");
  return (
    <section class="panel result" aria-label="Comparison" ref={element}>
      <header>
        <h2>{rows.length === 0 ? `No difference to ${time}` : `${count} to ${time}`}</h2>
        <OtherTime />
        <button type="button" class="close" aria-label="Close comparison" onClick={endComparison}>
          ×
        </button>
      </header>
      {rows.length > 0 && (
        <div class="scroller" tabIndex={0} role="group" aria-label="List of differences">
          <Grid name="Differences" columns={["There", "Element", "Type", "Changed keys"]} rows={rows} />
        </div>
      )}
    </section>
  );
}

/** A field for the time to compare with. */
function OtherTime() {
  const text = useSignal("");
  const error = useSignal("");
  const submit = (event: Event) => {
    event.preventDefault();
    const isNow = /^(now)?$/i.test(text.value.trim());
    const time = isNow ? null : parseTime(text.value, Date.now());
    error.value = time === undefined ? "Not a time" : "";
    if (time !== undefined) {
      compareWith(time).catch((failure: unknown) => (error.value = errorText(failure)));
    }
  };
  return (
    <form class="other-time" onSubmit={submit}>
      <input
        type="text"
        aria-label="Compare with time"
        placeholder="now, -10m, 13:05"
        size={16}
        value={text.value}
        onInput={(event) => (text.value = event.currentTarget.value)}
      />
      <button type="submit">Compare</button>
      <span role="status" aria-label="Comparison note">
        {error.value}
      </span>
    </form>
  );
}
