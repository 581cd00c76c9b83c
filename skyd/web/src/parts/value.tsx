// Values of metadata as text: long ones are cut, with a button that shows the rest.

import { useSignal } from "@preact/signals";
import type { Json } from "./json.ts";
import { cut, visible } from "./names.ts";
import { valueText } from "./value_text.ts";

const MAX_LENGTH = 300;

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
