// Safe access to metadata: hostile JSON whose keys may be `__proto__` or `constructor`.

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

/** Returns whether a value is a JSON object, not an array. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Returns an own member of an object; `undefined` if there is none. Inherited members do not count. */
export function member(value: Json | undefined, key: string): Json | undefined {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

/** Returns the value at a dotted path, such as `Docker.ContainerID`. */
export function valueAt(value: Json | undefined, path: string): Json | undefined {
  return path.split(".").reduce<Json | undefined>(member, value);
}

/** Returns a member as text; an empty string if it is missing or of another type. */
export function textOf(value: Json | undefined, key: string): string {
  const found = member(value, key);
  return typeof found === "string" ? found : "";
}

/** Returns a member as a number; 0 if it is missing or of another type. */
export function numberOf(value: Json | undefined, key: string): number {
  const found = member(value, key);
  return typeof found === "number" && Number.isFinite(found) ? found : 0;
}

/** Returns a member as a list; an empty list if it is missing or of another type. */
export function listOf(value: Json | undefined, key: string): Json[] {
  return asArray(member(value, key));
}

/** Returns the texts of a list member, such as the addresses of an interface. */
export function textsOf(value: Json | undefined, key: string): string[] {
  return listOf(value, key).filter((item) => typeof item === "string");
}

/** Returns the keys and values of an object member; an empty list if it is missing or of another type. */
export function membersOf(value: Json | undefined, key: string): [string, Json][] {
  const found = member(value, key);
  return isObject(found) ? Object.entries(found) : [];
}

/** Returns a list as it is; an empty list for any other value. */
export function asArray(value: unknown): Json[] {
  return Array.isArray(value) ? value : [];
}

/** Sets an own member, also for keys such as `__proto__`. */
function define(object: JsonObject, key: string, value: Json): void {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}

/** Sets the value at a dotted path; creates the objects on the way. */
export function setAt(object: JsonObject, path: string, value: Json): void {
  const keys = path.split(".");
  const last = keys.pop() ?? "";
  let inner = object;
  for (const key of keys) {
    const next = member(inner, key);
    if (isObject(next)) {
      inner = next;
    } else {
      const created: JsonObject = {};
      define(inner, key, created);
      inner = created;
    }
  }
  define(inner, last, value);
}

/** Deletes the value at a dotted path, and the objects that become empty by it. */
export function deleteAt(object: JsonObject, path: string): void {
  const [key = "", ...rest] = path.split(".");
  const inner = member(object, key);
  if (rest.length > 0) {
    if (!isObject(inner)) {
      return;
    }
    deleteAt(inner, rest.join("."));
    if (Object.keys(inner).length > 0) {
      return;
    }
  }
  delete object[key];
}
