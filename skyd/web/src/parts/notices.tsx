// Shows the current notices.

import { dismiss, notices } from "../state/notices.ts";

export function Notices() {
  return (
    <div class="notices" role="log" aria-label="Notices">
      {notices.value.map(({ id, text, action }) => (
        <p key={id} class="notice">
          {text}{" "}
          {action && (
            <button type="button" onClick={() => (action.run(), dismiss(id))}>
              {action.name}
            </button>
          )}
          <button type="button" class="copy" aria-label="Dismiss" onClick={() => dismiss(id)}>
            ×
          </button>
        </p>
      ))}
    </div>
  );
}
