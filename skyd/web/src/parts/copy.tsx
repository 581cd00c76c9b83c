// A button that copies a text to the clipboard.

import { useSignal } from "@preact/signals";

const SHOWN_MS = 1500;

export function CopyButton({ name, text, label }: { name: string; text: string; label?: string }) {
  const isDone = useSignal(false);
  const copy = async (event: Event) => {
    event.stopPropagation();
    await copyText(text);
    isDone.value = true;
    setTimeout(() => (isDone.value = false), SHOWN_MS);
  };
  return (
    <button
      type="button"
      class={label ? undefined : "copy"}
      aria-label={label ? undefined : `Copy ${name}`}
      title={`Copy ${name}`}
      onClick={copy}
    >
      {isDone.value ? "✓" : (label ?? <CopyIcon />)}
    </button>
  );
}

/** Copies a text; through a selection if the clipboard is refused, as without a secure context. */
export async function copyText(text: string): Promise<void> {
  const isCopied = await navigator.clipboard?.writeText(text).then(
    () => true,
    () => false,
  );
  if (isCopied) {
    return;
  }
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

function CopyIcon() {
  return (
    <svg
      viewBox="0 0 16 16"
      width="12"
      height="12"
      aria-hidden="true"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
    >
      <rect x="5" y="5" width="9" height="9" rx="1.5" />
      <path d="M11 2H3.5A1.5 1.5 0 0 0 2 3.5V11" />
    </svg>
  );
}
