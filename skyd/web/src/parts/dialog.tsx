// A modal dialog with a form. The browser keeps the focus inside and returns it when the dialog closes.

import type { ComponentChildren } from "preact";
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { errorText } from "../net/rest.ts";

interface Props {
  title: string;
  /** Text of the button that submits the form. */
  action: string;
  /** Submits the form; the dialog shows the text of an error and stays open. */
  onSubmit: (form: FormData) => Promise<void>;
  onClose: () => void;
  children: ComponentChildren;
}

export function Dialog({ title, action, onSubmit, onClose, children }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  const error = useSignal("");
  const isBusy = useSignal(false);
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    error.value = "";
    isBusy.value = true;
    try {
      await onSubmit(new FormData(event.target as HTMLFormElement));
      onClose();
    } catch (failure) {
      error.value = errorText(failure);
    } finally {
      isBusy.value = false;
    }
  };
  return (
    <dialog ref={element} aria-label={title} onClose={onClose}>
      <form method="dialog" onSubmit={submit}>
        <h2>{title}</h2>
        {children}
        {error.value !== "" && (
          <p class="error" role="alert">
            {error.value}
          </p>
        )}
        <div class="buttons">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isBusy.value}>
            {action}
          </button>
        </div>
      </form>
    </dialog>
  );
}
