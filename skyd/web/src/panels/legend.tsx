// The legend of the graph; it hides and shows kinds of links and types of nodes.

import { useComputed } from "@preact/signals";
import { FAMILY_ORDER, FAMILY_TEXT, type Family } from "../graph/family.ts";
import { OWNERSHIP } from "../graph/model.ts";
import { FamilyIcon } from "../parts/icon.tsx";
import { compareNatural, label } from "../parts/names.ts";
import { model, structureVersion } from "../state/session.ts";
import { hidden } from "../state/view.ts";

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
      <Kinds title="Links" names={kinds.value.relations} />
      <Kinds title="Types" names={kinds.value.types} />
    </details>
  );
}

function Kinds({ title, names }: { title: string; names: string[] }) {
  const toggle = (name: string) => {
    const others = hidden.value.filter((other) => other !== name);
    hidden.value = others.length === hidden.value.length ? [...others, name] : others;
  };
  return (
    <fieldset>
      <legend>{title}</legend>
      {names.map((name) => (
        <label key={name}>
          <input type="checkbox" checked={!hidden.value.includes(name)} onChange={() => toggle(name)} />{" "}
          {label(name, 30)}
        </label>
      ))}
    </fieldset>
  );
}
