// A button that saves the table beside it as CSV.

import { csv } from "./csv.ts";
import { saveFile } from "./save.ts";

/** Returns the texts of the cells of a table, without its buttons that copy. */
export function tableRows(table: HTMLTableElement): string[][] {
  return [...table.rows].map((row) =>
    [...row.cells].map((cell) => {
      const copy = cell.cloneNode(true) as HTMLElement;
      copy.querySelectorAll("button:not(.link), svg").forEach((element) => element.remove());
      return (copy.textContent ?? "").trim();
    }),
  );
}

export function SaveTable({ name }: { name: string }) {
  const save = (event: Event) => {
    const table = (event.currentTarget as HTMLElement).parentElement?.querySelector("table");
    if (table) {
      saveFile(`${name.toLowerCase()}.csv`, new Blob([csv(tableRows(table))], { type: "text/csv" }));
    }
  };
  return (
    <button type="button" class="save-table" aria-label={`Save ${name} as CSV`} onClick={save}>
      CSV
    </button>
  );
}
