// Values of metadata as text: long ones are cut, with a button that shows the rest.

import { useSignal } from "@preact/signals";
import type { Json } from "./json.ts";
import { cut, visible } from "./names.ts";

const MAX_LENGTH = 300;

/** Returns a value as one line of text. */
export function valueText(value: Json): string {
  if (typeof value === "string") {
    return value;
  }
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) {
    return value.join(", ");
  }
  return JSON.stringify(value);
}

export function Value({ value }: { value: Json }) {
  const isLong = useSignal(false);
  const text = valueText(value);
  if (text.length <= MAX_LENGTH || isLong.value) {
    return <bdi>{visible(text)}</bdi>;
  }
  return (
    <>
      <bdi>{visible(cut(text, MAX_LENGTH))}</bdi>{" "}
      <button type="button" onClick={() => (isLong.value = true)}>
        Show all {text.length} characters
      </button>
    </>
  );
}
