// The legend of the graph; it hides and shows kinds of links and types of nodes.

import { type Signal, useComputed } from "@preact/signals";
import { FAMILY_ORDER, FAMILY_TEXT, type Family } from "../graph/family.ts";
import { OWNERSHIP } from "../graph/model.ts";
import { FamilyIcon } from "../parts/icon.tsx";
import { compareNatural, label } from "../parts/names.ts";
import { model, structureVersion } from "../state/session.ts";
import { hidden, onHover } from "../state/view.ts";

const FAMILIES = Object.keys(FAMILY_ORDER) as Family[];

export function Legend() {
  const kinds = useComputed(() => {
    structureVersion.value;
    const relations = new Set<string>();
    const types = new Set<string>();
    for (const edge of model.edges.values()) {
      edge.relation !== "" && edge.relation !== OWNERSHIP && relations.add(edge.relation);
    }
    for (const node of model.nodes.values()) {
      types.add(node.type);
    }
    const sorted = (set: Set<string>) => [...set].sort(compareNatural).slice(0, 40);
    return { relations: sorted(relations), types: sorted(types) };
  });
  const families = new Set([...model.nodes.values()].map((node) => node.family));
  return (
    <details class="legend">
      <summary>Legend</summary>
      <ul>
        {FAMILIES.filter((family) => families.has(family)).map((family) => (
          <li key={family}>
            <FamilyIcon family={family} /> {FAMILY_TEXT[family]}
          </li>
        ))}
        <li>
          <FamilyIcon family="virtual" isDown /> Down
        </li>
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
