// Notes of the daemon about an answer: what is missing in it, and unknown keys.

import { label } from "./names.ts";

export function Notes({ notes }: { notes: readonly string[] }) {
  return (
    <>
      {notes.map((note) => (
        <p key={note} class="answer-note" role="note">
          {label(note, 400)}
        </p>
      ))}
    </>
  );
}
