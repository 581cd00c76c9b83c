// A modal dialog with a form. The browser keeps the focus inside and returns it when the dialog closes.

import type { ComponentChildren } from "preact";
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { errorText } from "../net/rest.ts";
import { ErrorText } from "./error_text.tsx";
import { namedField } from "./named_field.ts";

interface Props {
  title: string;
  /** Text of the button that submits the form. */
  action: string;
  /** Submits the form; the dialog shows the text of an error and stays open. */
  onSubmit: (form: FormData) => Promise<void>;
  onClose: () => void;
  children: ComponentChildren;
}

/** Id of the error of the open dialog: there is one dialog at a time. */
const ERROR_ID = "dialog-error";

const FIELDS = "input, textarea, select";

/** Marks the field whose key an error names as invalid, and moves the focus to it. */
function markField(form: HTMLFormElement, error: string): void {
  const fields = [...form.querySelectorAll<HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement>(FIELDS)];
  const key = namedField(
    error,
    fields.map(({ name }) => name),
  );
  const found = fields.find(({ name }) => name === key);
  for (const field of fields) {
    if (field === found) {
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-describedby", ERROR_ID);
    } else {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-describedby");
    }
  }
  found?.focus();
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
    const form = event.target as HTMLFormElement;
    error.value = "";
    markField(form, "");
    isBusy.value = true;
    try {
      await onSubmit(new FormData(form));
      onClose();
    } catch (failure) {
      error.value = errorText(failure);
      markField(form, error.value);
    } finally {
      isBusy.value = false;
    }
  };
  return (
    <dialog ref={element} aria-label={title} onClose={onClose}>
      <form method="dialog" onSubmit={submit}>
        <h2>{title}</h2>
        {children}
        <ErrorText text={error.value} id={ERROR_ID} />
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
