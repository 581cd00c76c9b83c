// Lists of favorites, from storage and from files. Pure.

import { formatView, parseView } from "./address.ts";

export interface Favorite {
  name: string;
  /** Fragment of the address. */
  view: string;
  /** Whether it is of the daemon's configuration, so that it cannot be deleted. */
  isShared?: boolean;
  /** The query of a favorite of the configuration. */
  query?: string;
}

export const MAX_FAVORITES = 200;
export const MAX_NAME = 100;

/** Returns the favorites of a stored or imported value; anything else in it is ignored. */
export function clean(value: unknown): Favorite[] {
  const list: unknown[] = Array.isArray(value) ? value : [];
  const found = list.flatMap((item): Favorite[] => {
    const { name, view } = (typeof item === "object" && item !== null ? item : {}) as Partial<Favorite>;
    return typeof name === "string" && typeof view === "string" && name !== ""
      ? [{ name: name.slice(0, MAX_NAME), view: formatView(parseView(view)) }]
      : [];
  });
  return found.slice(0, MAX_FAVORITES);
}
