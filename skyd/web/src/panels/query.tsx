// The search field: finds nodes while typing, and runs Gremlin queries.

import { batch, useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useRef } from "preact/hooks";
import { resultName, search } from "../graph/search.ts";
import { characterAt, isGremlin } from "../net/gremlin.ts";
import { openWayTo } from "../state/branches.ts";
import { queryError } from "../state/query.ts";
import { model, structureVersion } from "../state/session.ts";
import { queryText, select } from "../state/view.ts";

export function QueryField() {
  const input = useRef<HTMLInputElement>(null);
  const text = useSignal(queryText.peek());
  const isListOpen = useSignal(false);
  /** Index of the marked result; -1 for none. */
  const marked = useSignal(-1);
  const results = useComputed(() => {
    structureVersion.value;
    return isListOpen.value && !isGremlin(text.value) ? search(model, text.value) : [];
  });

  useSignalEffect(() => {
    const shown = queryText.value;
    text.value = shown === "" && !isGremlin(text.peek()) ? text.peek() : shown;
  });
  useSignalEffect(() => {
    const offset = queryError.value?.offset;
    const field = input.current;
    if (offset !== undefined && field && text.peek() === queryText.peek()) {
      const start = characterAt(field.value, offset);
      const word = /^\w*/.exec(field.value.slice(start))?.[0] ?? "";
      field.focus();
      field.setSelectionRange(start, start + word.length);
    }
  });

  const choose = (index: number) => {
    const node = results.value[index];
    if (node) {
      openWayTo(model, node);
      batch(() => {
        select(node.tid);
        isListOpen.value = false;
      });
    }
  };
  const run = () => {
    if (isGremlin(text.value)) {
      isListOpen.value = false;
      // The same text runs again, for example after a failure.
      queryText.value = "";
      queryText.value = text.value;
    } else {
      choose(Math.max(marked.value, 0));
    }
  };
  const clear = () => {
    batch(() => {
      text.value = "";
      queryText.value = "";
      isListOpen.value = false;
      queryError.value = undefined;
    });
    input.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const count = results.value.length;
    if (event.key === "Enter") {
      run();
    } else if (event.key === "ArrowDown" && count > 0) {
      marked.value = (marked.value + 1) % count;
    } else if (event.key === "ArrowUp" && count > 0) {
      marked.value = (marked.value + count - 1) % count;
    } else if (event.key === "Escape") {
      isListOpen.value ? (isListOpen.value = false) : input.current?.blur();
    } else {
      return;
    }
    event.preventDefault();
  };
  const onInput = (event: Event) => {
    batch(() => {
      text.value = (event.target as HTMLInputElement).value;
      isListOpen.value = true;
      marked.value = -1;
    });
  };

  const isSearch = isListOpen.value && text.value.trim() !== "" && !isGremlin(text.value);
  const hasList = isSearch && results.value.length > 0;
  const status = !isSearch ? "" : hasList ? `${results.value.length} found` : "No match";
  return (
    <div class="query" role="search">
      <input
        ref={input}
        id="query"
        type="text"
        role="combobox"
        aria-label="Search or Gremlin"
        aria-autocomplete="list"
        aria-expanded={hasList}
        aria-controls="search-results"
        aria-activedescendant={hasList && marked.value >= 0 ? `result-${marked.value}` : undefined}
        aria-invalid={queryError.value !== undefined}
        aria-errormessage={queryError.value ? "query-error" : undefined}
        placeholder="Name, address, or Gremlin: G.V().Has('Type', 'veth')"
        autocomplete="off"
        spellcheck={false}
        value={text.value}
        onInput={onInput}
        onKeyDown={onKeyDown}
        onBlur={() => setTimeout(() => (isListOpen.value = false), 150)}
      />
      <button type="button" onClick={run}>Run query</button>
      <button type="button" onClick={clear}>Clear query</button>
      <p role="status" aria-label="Search" class={status === "No match" ? "query-status" : "visually-hidden"}>{status}</p>
      {hasList && (
        <ul id="search-results" role="listbox" aria-label="Search results">
          {results.value.map((node, index) => {
            const name = resultName(model, node);
            return (
              <li
                key={node.id}
                id={`result-${index}`}
                role="option"
                aria-label={name}
                aria-selected={index === marked.value}
                onMouseDown={(event) => event.preventDefault()}
                onClick={() => choose(index)}
              >
                {name}
              </li>
            );
          })}
        </ul>
      )}
      {queryError.value && (
        <div id="query-error" class="query-error" role="alert">
          {queryError.value.text}
        </div>
      )}
    </div>
  );
}
