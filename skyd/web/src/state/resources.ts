// Resources of one kind of the REST interface, such as alerts: list, create, change, delete.

import { type Signal, signal } from "@preact/signals";
import { errorText, json, send } from "../net/rest.ts";
import { type Json, type JsonObject, isObject, textOf } from "../parts/json.ts";
import { compareNatural } from "../parts/names.ts";
import { notify } from "./notices.ts";
import { listen } from "./session.ts";

/** Namespaces of the messages that announce new and deleted resources of a kind. */
const NAMESPACES: Record<string, string> = {
  capture: "OnDemandCaptureNotification",
  injectpacket: "OnDemandPacketInjectionNotification",
};
/** Time between two readings of a list that is shown: other users and scripts change it too. */
const INTERVAL_MS = 5000;

/** Returns the name of a resource; the beginning of its UUID if it has none. */
export function resourceName(resource: Json | undefined): string {
  return textOf(resource, "Name") || textOf(resource, "UUID").slice(0, 8);
}

export class Resources {
  /** The resources, sorted by name. */
  readonly list: Signal<JsonObject[]> = signal([]);

  constructor(
    /** Kind in paths, such as `alert`. */
    readonly kind: string,
    /** Whether deleted resources can be created again; an injection would send its packets again. */
    readonly canRestore = true,
    /** Whether the daemon changes resources of this kind; others are replaced. */
    readonly canPatch = true,
  ) {}

  /** Reads the list. */
  async load(): Promise<void> {
    try {
      await this.#read();
    } catch (error) {
      notify(errorText(error));
    }
  }

  /** Reads the list, again whenever the daemon announces a change, and regularly. Returns a function that
   * ends it. */
  follow(): () => void {
    void this.load();
    const again = () => void this.#read().catch(() => undefined);
    const timer = setInterval(again, INTERVAL_MS);
    const stop = listen(NAMESPACES[this.kind] ?? "", again);
    return () => {
      clearInterval(timer);
      stop();
    };
  }

  async #read(): Promise<void> {
    const all = await json("GET", `/api/${this.kind}`);
    const found = isObject(all) ? Object.values(all).filter(isObject) : [];
    const sorted = found.sort((a, b) => compareNatural(textOf(a, "Name"), textOf(b, "Name")));
    // An equal list keeps its elements in the document.
    if (JSON.stringify(sorted) !== JSON.stringify(this.list.peek())) {
      this.list.value = sorted;
    }
  }

  /** Creates a resource. Throws a `RequestError` if the daemon refuses it. */
  async create(resource: JsonObject): Promise<void> {
    await json("POST", `/api/${this.kind}`, resource);
    await this.load();
  }

  /** Changes members of a resource. Throws a `RequestError` if the daemon refuses them. */
  async change(resource: JsonObject, members: JsonObject): Promise<void> {
    if (!this.canPatch) {
      // The new one first: if it is refused, the old one stays.
      await json("POST", `/api/${this.kind}`, members);
      await send("DELETE", this.#path(resource));
      await this.load();
      return;
    }
    const patch = Object.entries(members).map(([key, value]): Json => ({ op: "add", path: `/${key}`, value }));
    await json("PATCH", `${this.#path(resource)}`, patch);
    await this.load();
  }

  /** Deletes a resource, and offers to create it again. */
  async remove(resource: JsonObject): Promise<void> {
    try {
      await send("DELETE", this.#path(resource));
      const restore = () => void this.create(resource).catch((error: unknown) => notify(errorText(error)));
      notify("Deleted.", this.canRestore ? { name: "Undo", run: restore } : undefined);
    } catch (error) {
      notify(errorText(error));
    }
    await this.load();
  }

  #path(resource: JsonObject): string {
    return `/api/${this.kind}/${encodeURIComponent(textOf(resource, "UUID"))}`;
  }
}
