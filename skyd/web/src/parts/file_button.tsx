// A button that lets the user choose a file.

import { useRef } from "preact/hooks";

interface Props {
  /** Text of the button. */
  text: string;
  title?: string;
  /** Accessible name of the chosen file. */
  label: string;
  /** Extensions and media types of the files that the browser offers. */
  accept: string;
  onChoose: (file: File) => Promise<void>;
}

export function FileButton({ text, title, label, accept, onChoose }: Props) {
  const field = useRef<HTMLInputElement>(null);
  const choose = async () => {
    const [chosen] = field.current?.files ?? [];
    if (chosen) {
      await onChoose(chosen);
    }
    // The same file can be chosen again.
    if (field.current) {
      field.current.value = "";
    }
  };
  return (
    <>
      <button type="button" title={title} onClick={() => field.current?.click()}>
        {text}
      </button>
      <input
        ref={field}
        type="file"
        class="visually-hidden"
        tabIndex={-1}
        aria-label={label}
        accept={accept}
        onChange={() => void choose()}
      />
    </>
  );
}
