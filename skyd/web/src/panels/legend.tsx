// The legend of the graph; it hides and shows kinds of links and types of nodes.

import { type Signal, useComputed } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { FAMILY_ORDER, FAMILY_TEXT, type Family } from "../graph/family.ts";
import { OWNERSHIP } from "../graph/model.ts";
import { FamilyIcon } from "../parts/icon.tsx";
import { compareNatural, label } from "../parts/names.ts";
import { model, structureVersion } from "../state/session.ts";
import { hidden, onHover } from "../state/view.ts";

const FAMILIES = Object.keys(FAMILY_ORDER) as Family[];

/** Marks of the graph with small pictures of them. */
const MARKS: [string, ComponentChildren][] = [
  [
    "Captured",
    <>
      <circle class="mark-line" cx="7" cy="9" r="5.5" />
      <circle class="mark-warning" cx="12" cy="4" r="2.5" />
    </>,
  ],
  ["Packets are lost, or an alert", <path class="mark-warning" d="M8 2l6 12H2z" />],
  ["Selected", <rect class="mark-accent" x="2" y="3" width="12" height="10" rx="2" />],
  ["Found", <rect class="mark-found" x="2" y="3" width="12" height="10" rx="2" />],
  ["Traffic", <path class="mark-accent" d="M1 8h1m5 0h1m5 0h1" />],
];

export function Legend() {
  const kinds = useComputed(() => {
    structureVersion.value;
    const relations = new Set<string>();
    const types = new Set<string>();
    const families = new Set<Family>();
    for (const edge of model.edges.values()) {
      edge.relation !== "" && edge.relation !== OWNERSHIP && relations.add(edge.relation);
    }
    for (const node of model.nodes.values()) {
      types.add(node.type);
      families.add(node.family);
    }
    const sorted = (set: Set<string>) => [...set].sort(compareNatural).slice(0, 40);
    return { relations: sorted(relations), types: sorted(types), families };
  });
  return (
    <details class="legend">
      <summary>Legend</summary>
      <ul>
        {FAMILIES.filter((family) => kinds.value.families.has(family)).map((family) => (
          <li key={family}>
            <FamilyIcon family={family} /> {FAMILY_TEXT[family]}
          </li>
        ))}
        <li>
          <FamilyIcon family="virtual" isDown /> Down
        </li>
        {MARKS.map(([text, picture]) => (
          <li key={text}>
            <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
              {picture}
            </svg>{" "}
            {text}
          </li>
        ))}
      </ul>
      <Kinds title="Links" names={kinds.value.relations} hasHover />
      <Kinds title="Types" names={kinds.value.types} />
    </details>
  );
}

/** Adds a name to a list, or takes it out. */
function toggle(list: Signal<string[]>, name: string): void {
  const others = list.value.filter((other) => other !== name);
  list.value = others.length === list.value.length ? [...others, name] : others;
}

function Kinds({ title, names, hasHover = false }: { title: string; names: string[]; hasHover?: boolean }) {
  return (
    <fieldset>
      <legend>{title}</legend>
      {names.map((name) => (
        <div key={name} class="kind">
          <label>
            <input type="checkbox" checked={!hidden.value.includes(name)} onChange={() => toggle(hidden, name)} />{" "}
            {label(name, 30)}
          </label>
          {hasHover && (
            <label title="Show these links only while an end is hovered or selected">
              <input
                type="checkbox"
                aria-label={`${label(name, 30)} only on hover`}
                checked={onHover.value.includes(name)}
                disabled={hidden.value.includes(name)}
                onChange={() => toggle(onHover, name)}
              />{" "}
              on hover
            </label>
          )}
        </div>
      ))}
    </fieldset>
  );
}
