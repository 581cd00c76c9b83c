// What was added, removed, and changed since the shown time.

import { label } from "../parts/names.ts";
import { comparison, endComparison } from "../state/comparison.ts";
import { select } from "../state/view.ts";
import { Grid } from "./details/tables.tsx";

const SIGNS = { added: "+ added", removed: "− removed", changed: "~ changed" };

export function Comparison() {
  const found = comparison.value;
  if (!found) {
    return null;
  }
  const rows = found.map((entry) => [
    SIGNS[entry.difference],
    <button type="button" class="link" onClick={() => select(entry.key)}>
      {label(entry.name)}
    </button>,
    label(entry.type, 40),
  ]);
  return (
    <section class="panel result" aria-label="Comparison">
      <header>
        <h2>{found.length === 0 ? "Nothing changed since then" : `${found.length} differences to now`}</h2>
        <button type="button" class="close" aria-label="Close comparison" onClick={endComparison}>
          ×
        </button>
      </header>
      {rows.length > 0 && (
        <div class="scroller">
          <Grid name="Differences" columns={["Now", "Node", "Type"]} rows={rows} />
        </div>
      )}
    </section>
  );
}
