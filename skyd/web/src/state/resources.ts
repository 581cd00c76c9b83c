// Resources of one kind of the REST interface, such as alerts: list, create, change, delete.

import { type Signal, signal } from "@preact/signals";
import { errorText, json, send } from "../net/rest.ts";
import { type Json, type JsonObject, isObject, textOf } from "../parts/json.ts";
import { compareNatural } from "../parts/names.ts";
import { notify } from "./notices.ts";

export class Resources {
  /** The resources, sorted by name. */
  readonly list: Signal<JsonObject[]> = signal([]);

  constructor(
    /** Kind in paths, such as `alert`. */
    readonly kind: string,
  ) {}

  /** Reads the list. */
  async load(): Promise<void> {
    try {
      const all = await json("GET", `/api/${this.kind}`);
      const found = isObject(all) ? Object.values(all).filter(isObject) : [];
      this.list.value = found.sort((a, b) => compareNatural(textOf(a, "Name"), textOf(b, "Name")));
    } catch (error) {
      notify(errorText(error));
    }
  }

  /** Creates a resource. Throws a `RequestError` if the daemon refuses it. */
  async create(resource: JsonObject): Promise<void> {
    await json("POST", `/api/${this.kind}`, resource);
    await this.load();
  }

  /** Changes members of a resource. Throws a `RequestError` if the daemon refuses them. */
  async change(resource: JsonObject, members: JsonObject): Promise<void> {
    const patch = Object.entries(members).map(([key, value]): Json => ({ op: "add", path: `/${key}`, value }));
    await json("PATCH", `${this.#path(resource)}`, patch);
    await this.load();
  }

  /** Deletes a resource, and offers to create it again. */
  async remove(resource: JsonObject): Promise<void> {
    try {
      await send("DELETE", this.#path(resource));
      notify("Deleted.", {
        name: "Undo",
        run: () => void this.create(resource).catch((error: unknown) => notify(errorText(error))),
      });
    } catch (error) {
      notify(errorText(error));
    }
    await this.load();
  }

  #path(resource: JsonObject): string {
    return `/api/${this.kind}/${encodeURIComponent(textOf(resource, "UUID"))}`;
  }
}
