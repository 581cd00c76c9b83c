// Favorites: views of the page that have a name. Those of this browser can be exported and imported; those
// of the daemon's configuration (`ui.topology.favorites`) are queries.

import { computed, signal } from "@preact/signals";
import { readStored, store } from "../parts/storage.ts";
import { DEFAULT_VIEW, formatView, parseView } from "./address.ts";
import { type Favorite, MAX_FAVORITES, MAX_NAME, clean } from "./favorite_list.ts";
import { currentView, show } from "./view.ts";

const own = signal<Favorite[]>(clean(readStored("favorites")));
const shared = signal<Favorite[]>([]);

export const favorites = computed<Favorite[]>(() => [...own.value, ...shared.value]);

/** Sets the favorites of the configuration: names of queries. */
export function setSharedFavorites(queries: [string, string][]): void {
  shared.value = queries.map(([name, query]) => ({
    name,
    view: formatView({ ...DEFAULT_VIEW, query }),
    query,
    isShared: true,
  }));
}

/** Gives the current view a name; replaces the favorite of the same name. */
export function addFavorite(name: string): void {
  write([
    { name: name.slice(0, MAX_NAME), view: formatView(currentView()) },
    ...own.value.filter((other) => other.name !== name),
  ]);
}

/** Deletes a favorite of this browser. */
export function deleteFavorite(name: string): void {
  write(own.value.filter((other) => other.name !== name));
}

/** Shows the view of a favorite. */
export function openFavorite({ view }: Favorite): void {
  show(parseView(view));
}

/** Returns the favorites of this browser as the text of a file. */
export function favoritesText(): string {
  return JSON.stringify(own.value, null, 1);
}

/** Adds the favorites of a file, and returns their number. Throws an `Error` if the file has none. */
export function importFavorites(text: string): number {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("The file has no favorites: it is not JSON.");
  }
  const found = clean(value);
  if (found.length === 0) {
    throw new Error("The file has no favorites: it is a list of objects with name and view.");
  }
  const names = new Set(found.map(({ name }) => name));
  write([...found, ...own.value.filter(({ name }) => !names.has(name))]);
  return found.length;
}

function write(list: Favorite[]): void {
  own.value = list.slice(0, MAX_FAVORITES);
  store("favorites", own.value);
}
