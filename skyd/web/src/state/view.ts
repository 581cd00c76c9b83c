// What the user looks at, as signals, synchronized with the address of the page.

import { batch, effect, signal } from "@preact/signals";
import { type Panel, type Theme, type View, type Zoom, formatView, isStep, parseView } from "./address.ts";

const initial = parseView(location.hash);

export const selection = signal<string | null>(initial.select);
/** Stable ids of nodes that are selected in addition to the node of `selection`, in the order of their
 * selection. They are not in the address. */
export const alsoSelected = signal<readonly string[]>([]);
export const tab = signal(initial.tab);
export const panel = signal<Panel | null>(initial.panel);
export const queryText = signal(initial.query);
/** Query of the nodes that the graph is limited to; empty for all. */
export const graphFilter = signal(initial.only);
export const flowFilter = signal(initial.filter);
/** Grouping of the flow table; empty for single flows. */
export const flowGroup = signal(initial.group);
/** Time in the past, in Unix milliseconds; `null` for the present. */
export const pastTime = signal<number | null>(initial.at);
export const hidden = signal<string[]>(initial.hide);
/** Relation types whose links are shown only while an end is hovered or selected. */
export const onHover = signal<string[]>(initial.hover);
/** Shown part of the graph; `null` for the whole graph. */
export const zoom = signal<Zoom | null>(initial.zoom);
export const theme = signal<Theme>(initial.theme);
/** Name of the file whose graph is shown instead of the daemon's; `null` for none. */
export const savedGraph = signal<string | null>(null);

/** Returns the view as one value. */
export function currentView(): View {
  return {
    select: selection.value,
    tab: tab.value,
    panel: panel.value,
    query: queryText.value,
    only: graphFilter.value,
    filter: flowFilter.value,
    group: flowGroup.value,
    at: pastTime.value,
    hide: hidden.value,
    hover: onHover.value,
    zoom: zoom.value,
    theme: theme.value,
  };
}

/** Returns whether the user has not chosen what the graph shows. */
export function isDefaultView(): boolean {
  return graphFilter.peek() === "" && queryText.peek() === "" && pastTime.peek() === null;
}

/** Sets all signals of the view. */
export function show(view: View): void {
  batch(() => {
    selection.value = view.select;
    alsoSelected.value = [];
    tab.value = view.tab;
    panel.value = view.panel;
    queryText.value = view.query;
    graphFilter.value = view.only;
    flowFilter.value = view.filter;
    flowGroup.value = view.group;
    pastTime.value = view.at;
    hidden.value = view.hide;
    onHover.value = view.hover;
    zoom.value = view.zoom;
    theme.value = view.theme;
  });
}

/** Selects a single node, flow, or link, or nothing. */
export function select(key: string | null): void {
  batch(() => {
    selection.value = key;
    alsoSelected.value = [];
  });
}

/** Opens a panel, or closes it if it is open. */
export function togglePanel(name: Panel): void {
  panel.value = panel.value === name ? null : name;
}

/** Time between changes of the address that are no steps: browsers refuse more than about 100 changes
 * in 30 seconds. */
const REPLACE_MS = 400;

/** Writes each change of the view into the address, and follows the browser's history. */
export function followAddress(): void {
  let written = currentView();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let replacedAt = 0;
  const replace = () => {
    clearTimeout(timer);
    timer = undefined;
    replacedAt = Date.now();
    history.replaceState(null, "", formatView(written) || location.pathname);
  };
  effect(() => {
    const view = currentView();
    if (formatView(view) === formatView(written)) {
      return;
    }
    const step = isStep(written, view);
    if (step && timer !== undefined) {
      replace();
    }
    written = view;
    if (step) {
      history.pushState(null, "", formatView(view) || location.pathname);
    } else if (timer === undefined) {
      // The first change is written at once, so that a copied address is that of the view.
      const left = replacedAt + REPLACE_MS - Date.now();
      left <= 0 ? replace() : (timer = setTimeout(replace, left));
    }
  });
  addEventListener("popstate", () => {
    clearTimeout(timer);
    timer = undefined;
    written = parseView(location.hash);
    show(written);
  });
  addEventListener("pagehide", () => timer !== undefined && replace());
}
