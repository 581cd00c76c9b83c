// The view as the fragment of the address, and back. Pure: unknown and broken members are ignored.

export const PANELS = [
  "Flows",
  "Captures",
  "Injections",
  "Alerts",
  "Rules",
  "Workflows",
  "Changes",
  "SPP captures",
  "Health",
] as const;
export type Panel = (typeof PANELS)[number];
export type Theme = "light" | "dark" | "system";

export interface View {
  /** Stable id of the selected node. */
  select: string | null;
  /** Open section of the details. */
  tab: string;
  panel: Panel | null;
  query: string;
  /** Query of the nodes that the graph is limited to; empty for all. */
  only: string;
  /** Filter of the flow table. */
  filter: string;
  /** Grouping of the flow table; empty for single flows. */
  group: string;
  /** Time in the past, in Unix milliseconds; `null` for the present. */
  at: number | null;
  /** Hidden relation types and node types. */
  hide: string[];
  /** Relation types whose links are shown only while an end is hovered or selected. */
  hover: string[];
  /** Layout point at the middle of the graph and pixels per unit; `null` for the whole graph. */
  zoom: Zoom | null;
  theme: Theme;
}

export interface Zoom {
  x: number;
  y: number;
  zoom: number;
}

export const DEFAULT_VIEW: View = {
  select: null,
  tab: "Overview",
  panel: null,
  query: "",
  only: "",
  filter: "",
  group: "",
  at: null,
  hide: [],
  hover: [],
  zoom: null,
  theme: "system",
};

/** Longest member, in characters: a query names each of 100 selected nodes. */
const MAX_LENGTH = 8000;

/** Returns the view that a fragment describes. */
export function parseView(fragment: string): View {
  const members = new URLSearchParams(fragment.replace(/^#/, ""));
  const text = (name: string) => (members.get(name) ?? "").slice(0, MAX_LENGTH);
  const at = Number(text("at"));
  const theme = text("theme");
  return {
    select: text("select") || null,
    tab: text("tab") || DEFAULT_VIEW.tab,
    panel: PANELS.find((panel) => panel === text("panel")) ?? null,
    query: text("query"),
    only: text("only"),
    filter: text("filter"),
    group: text("group"),
    at: Number.isFinite(at) && at > 0 ? at : null,
    hide: names(text("hide")),
    hover: names(text("hover")),
    zoom: parseZoom(text("zoom")),
    theme: theme === "light" || theme === "dark" ? theme : "system",
  };
}

function names(text: string): string[] {
  return text.split(",").filter((name) => name !== "");
}

function parseZoom(text: string): Zoom | null {
  const [x = Number.NaN, y = Number.NaN, zoom = Number.NaN, ...more] = text.split(",").map(Number);
  const isValid = [x, y, zoom].every((number) => Math.abs(number) < 1e7) && zoom > 0 && more.length === 0;
  return text !== "" && isValid ? { x, y, zoom } : null;
}

function formatZoom({ x, y, zoom }: Zoom): string {
  return [Math.round(x), Math.round(y), Number(zoom.toPrecision(3))].join(",");
}

/** Returns the fragment of a view; empty for the default view. */
export function formatView(view: View): string {
  const members = new URLSearchParams();
  const add = (name: string, value: string | null) => value && members.set(name, value);
  add("select", view.select);
  add("tab", view.select !== null && view.tab !== DEFAULT_VIEW.tab ? view.tab : null);
  add("panel", view.panel);
  add("query", view.query);
  add("only", view.only);
  add("filter", view.filter);
  add("group", view.group);
  add("at", view.at === null ? null : String(view.at));
  add("hide", view.hide.join(","));
  add("hover", view.hover.join(","));
  add("zoom", view.zoom && formatZoom(view.zoom));
  add("theme", view.theme === "system" ? null : view.theme);
  const text = members.toString();
  return text === "" ? "" : `#${text}`;
}

/** Returns whether going from one view to another is a step of the browser's history. */
export function isStep(from: View, to: View): boolean {
  return from.select !== to.select || from.query !== to.query || from.only !== to.only || from.at !== to.at;
}
