// An error that a screen reader announces; nothing for an empty text.

export function ErrorText({ text, id }: { text: string; id?: string }) {
  return text === "" ? null : (
    <p class="error" role="alert" id={id}>
      {text}
    </p>
  );
}
