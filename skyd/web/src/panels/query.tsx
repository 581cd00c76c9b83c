// The search field: finds nodes while typing, and runs Gremlin queries.

import { batch, useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useRef } from "preact/hooks";
import { resultName, search } from "../graph/search.ts";
import type { GraphNode } from "../graph/model.ts";
import { complete } from "../net/completion.ts";
import { characterAt, isGremlin } from "../net/gremlin.ts";
import { openWayTo } from "../state/branches.ts";
import { vocabulary } from "../state/vocabulary.ts";
import { queryError } from "../state/query.ts";
import { pastQueries } from "../state/query_history.ts";
import { model, structureVersion } from "../state/session.ts";
import { queryText, select } from "../state/view.ts";

export function QueryField() {
  const input = useRef<HTMLInputElement>(null);
  const text = useSignal(queryText.peek());
  const isListOpen = useSignal(false);
  /** Index of the marked result; -1 for none. */
  const marked = useSignal(-1);
  const suggestions = useComputed((): Suggestion[] => {
    structureVersion.value;
    return isListOpen.value ? suggest(text.value) : [];
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
    const chosen = suggestions.value[index];
    batch(() => {
      marked.value = -1;
      if (chosen?.node) {
        openWayTo(model, chosen.node);
        select(chosen.node.tid);
        isListOpen.value = false;
      } else if (chosen) {
        text.value = chosen.text;
      }
    });
  };
  const run = () => {
    if (isGremlin(text.value)) {
      isListOpen.value = false;
      // The same text runs again, for example after a failure.
      queryText.value = "";
      queryText.value = text.value;
    } else {
      choose(0);
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
    const count = suggestions.value.length;
    if (event.key === "Enter") {
      marked.value >= 0 ? choose(marked.value) : run();
    } else if (event.key === "ArrowDown" && !isListOpen.value) {
      isListOpen.value = true;
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
  const hasList = isListOpen.value && suggestions.value.length > 0;
  const status = !isSearch ? "" : hasList ? `${suggestions.value.length} found` : "No match";
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
        onBlur={() => (isListOpen.value = false)}
      />
      <button type="button" onClick={run}>
        Run query
      </button>
      <button type="button" onClick={clear}>
        Clear query
      </button>
      <p role="status" aria-label="Search" class={status === "No match" ? "query-status" : "visually-hidden"}>
        {status}
      </p>
      {hasList && (
        <ul id="search-results" role="listbox" aria-label="Search results">
          {suggestions.value.map(({ name }, index) => (
            <li
              key={index}
              id={`result-${index}`}
              role="option"
              aria-label={name}
              aria-selected={index === marked.value}
              onMouseDown={(event) => event.preventDefault()}
              onClick={() => choose(index)}
            >
              {name}
            </li>
          ))}
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

/** Entry of the list below the field. */
interface Suggestion {
  name: string;
  /** The node that it selects, if it is not a completion. */
  node?: GraphNode;
  /** The text of the field after a completion. */
  text: string;
}

/** Returns the nodes that match a text, the completions of a Gremlin query, or earlier queries. */
function suggest(text: string): Suggestion[] {
  if (text.trim() === "") {
    return pastQueries.value.map((query) => ({ name: query, text: query }));
  }
  if (!isGremlin(text)) {
    return search(model, text).map((node) => ({ name: resultName(model, node), node, text }));
  }
  const { start, options } = complete(text, vocabulary);
  return options.map((option) => ({ name: option.replace(/['"]$/, ""), text: text.slice(0, start) + option }));
}
