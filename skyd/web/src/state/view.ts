// What the user looks at, as signals, synchronized with the address of the page.

import { batch, effect, signal } from "@preact/signals";
import { type Panel, type Theme, type View, formatView, isStep, parseView } from "./address.ts";

const initial = parseView(location.hash);

export const selection = signal<string | null>(initial.select);
export const tab = signal(initial.tab);
export const panel = signal<Panel | null>(initial.panel);
export const queryText = signal(initial.query);
/** Query of the nodes that the graph is limited to; empty for all. */
export const graphFilter = signal(initial.only);
export const flowFilter = signal(initial.filter);
/** Time in the past, in Unix milliseconds; `null` for the present. */
export const pastTime = signal<number | null>(initial.at);
export const hidden = signal<string[]>(initial.hide);
export const theme = signal<Theme>(initial.theme);

function current(): View {
  return {
    select: selection.value,
    tab: tab.value,
    panel: panel.value,
    query: queryText.value,
    only: graphFilter.value,
    filter: flowFilter.value,
    at: pastTime.value,
    hide: hidden.value,
    theme: theme.value,
  };
}

/** Sets all signals of the view. */
export function show(view: View): void {
  batch(() => {
    selection.value = view.select;
    tab.value = view.tab;
    panel.value = view.panel;
    queryText.value = view.query;
    graphFilter.value = view.only;
    flowFilter.value = view.filter;
    pastTime.value = view.at;
    hidden.value = view.hide;
    theme.value = view.theme;
  });
}

/** Selects a node, or nothing. */
export function select(key: string | null): void {
  selection.value = key;
}

/** Opens a panel, or closes it if it is open. */
export function togglePanel(name: Panel): void {
  panel.value = panel.value === name ? null : name;
}

/** Writes each change of the view into the address, and follows the browser's history. */
export function followAddress(): void {
  let written = current();
  effect(() => {
    const view = current();
    const address = formatView(view) || location.pathname;
    if (formatView(view) !== formatView(written)) {
      isStep(written, view) ? history.pushState(null, "", address) : history.replaceState(null, "", address);
    }
    written = view;
  });
  addEventListener("popstate", () => {
    written = parseView(location.hash);
    show(written);
  });
}
