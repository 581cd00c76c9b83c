// The menu of the selected nodes: right click, long press, M, or Shift-F10.

import { useLayoutEffect, useRef } from "preact/hooks";
import { counted, label } from "../parts/names.ts";
import { openMenu } from "../state/menu.ts";
import { type NodeAction, actionsOf } from "../state/node_actions.ts";
import { selectedNodes } from "../state/selected.ts";

/** Most pixels that the menu takes, so that it stays inside the window. */
const [WIDTH, ITEM_HEIGHT] = [220, 34];

export function NodeMenu() {
  const element = useRef<HTMLUListElement>(null);
  const position = openMenu.value;
  const nodes = selectedNodes.value;
  const [first] = nodes;
  // The focus returns to where it was, for example to the graph.
  useLayoutEffect(() => {
    if (!position) {
      return undefined;
    }
    const before = document.activeElement as HTMLElement | null;
    element.current?.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    return () => {
      if (document.activeElement === document.body || element.current?.contains(document.activeElement)) {
        before?.focus();
      }
    };
  }, [position]);
  if (!position || !first) {
    return null;
  }
  const actions = actionsOf(nodes);
  const left = Math.max(0, Math.min(position.x, innerWidth - WIDTH));
  const top = Math.max(0, Math.min(position.y, innerHeight - actions.length * ITEM_HEIGHT));
  const run = (action: NodeAction) => {
    openMenu.value = null;
    action.run();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const items = [...(element.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const index = items.indexOf(document.activeElement as HTMLElement);
    const next = nextItem(event.key, index, items.length);
    if (next !== undefined) {
      items[next]?.focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      openMenu.value = null;
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <ul
      class="node-menu"
      role="menu"
      aria-label={`Actions of ${nodes.length === 1 ? label(first.name, 60) : counted(nodes.length, "node")}`}
      ref={element}
      style={{ left: `${left}px`, top: `${top}px` }}
      onKeyDown={onKeyDown}
      onFocusOut={(event) => {
        if (!element.current?.contains(event.relatedTarget as Node | null)) {
          openMenu.value = null;
        }
      }}
    >
      {actions.map((action) => (
        <li key={action.name} role="none">
          <button
            type="button"
            role="menuitem"
            tabIndex={-1}
            aria-disabled={action.refusal !== undefined}
            title={action.refusal}
            onClick={() => action.refusal === undefined && run(action)}
          >
            {action.name}
            {action.key && <kbd aria-hidden="true">{action.key.toUpperCase()}</kbd>}
          </button>
        </li>
      ))}
    </ul>
  );
}

/** Returns the item that a key goes to; `undefined` if the key does not move. */
function nextItem(key: string, index: number, count: number): number | undefined {
  switch (key) {
    case "ArrowDown":
      return (index + 1) % count;
    case "ArrowUp":
      return (index + count - 1) % count;
    case "Home":
      return 0;
    case "End":
      return count - 1;
    default:
      return undefined;
  }
}
