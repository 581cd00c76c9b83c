// A list of resources of one kind, with buttons that create, edit, and delete them.

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { Dialog } from "../parts/dialog.tsx";
import type { JsonObject } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { type Resources, resourceName } from "../state/resources.ts";
import { refusal } from "../state/me.ts";
import { Grid } from "./details/tables.tsx";

interface Props {
  resources: Resources;
  /** Noun in the singular, such as `alert`. */
  noun: string;
  columns: string[];
  cells: (resource: JsonObject) => ComponentChildren[];
  /** Fields of the form; `resource` is the edited resource, if any. */
  fields: (resource: JsonObject | undefined) => ComponentChildren;
  /** Returns the resource that a form describes. */
  read: (form: FormData) => JsonObject | Promise<JsonObject>;
  /** Whether resources can be changed after they were created. */
  canEdit: boolean;
  /** Text of the button that submits a new resource. */
  action?: string;
  /** More buttons of a row. */
  actions?: (resource: JsonObject) => ComponentChildren;
  /** What such a resource is for, shown while there is none. */
  help: string;
}

export function ResourceList(props: Props) {
  const { resources, noun, columns, canEdit, help } = props;
  const edited = useSignal<JsonObject | "new" | undefined>(undefined);
  useEffect(() => resources.follow(), [resources]);
  const reason = refusal(resources.kind);
  const nameOf = (resource: JsonObject) => label(resourceName(resource), 60);
  const rows = resources.list.value.map((resource) => [
    ...props.cells(resource),
    <span class="row-actions">
      {props.actions?.(resource)}
      {canEdit && (
        <button
          type="button"
          disabled={reason !== undefined}
          title={reason}
          aria-label={`Edit ${nameOf(resource)}`}
          onClick={() => (edited.value = resource)}
        >
          Edit
        </button>
      )}
      <button
        type="button"
        disabled={reason !== undefined}
        title={reason}
        aria-label={`Delete ${nameOf(resource)}`}
        onClick={() => void resources.remove(resource)}
      >
        Delete
      </button>
    </span>,
  ]);
  const submit = async (form: FormData) => {
    const target = edited.value;
    const members = await props.read(form);
    await (target === "new" || target === undefined ? resources.create(members) : resources.change(target, members));
  };
  const title = edited.value === "new" ? `New ${noun}` : `Edit ${noun}`;
  return (
    <div class="list">
      <div class="toolbar">
        <button type="button" disabled={reason !== undefined} title={reason} onClick={() => (edited.value = "new")}>
          New {noun}
        </button>
      </div>
      {rows.length === 0 ? (
        <p class="note">{help}</p>
      ) : (
        <Grid name={`${noun[0]?.toUpperCase()}${noun.slice(1)}s`} columns={[...columns, "Actions"]} rows={rows} />
      )}
      {edited.value !== undefined && (
        <Dialog
          title={title}
          action={edited.value === "new" ? (props.action ?? "Create") : "Save"}
          onSubmit={submit}
          onClose={() => (edited.value = undefined)}
        >
          {props.fields(edited.value === "new" ? undefined : edited.value)}
        </Dialog>
      )}
    </div>
  );
}
