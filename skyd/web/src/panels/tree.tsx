// The tree of hosts, namespaces, and interfaces: what the graph shows, in words.

import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { memo } from "preact/compat";
import { useCallback, useRef } from "preact/hooks";
import { rangeTo } from "../graph/node_selection.ts";
import { type OutlineRow, outline } from "../graph/outline.ts";
import type { GraphNode } from "../graph/model.ts";
import { isDown } from "../graph/scene.ts";
import { treeName } from "../graph/search.ts";
import { FamilyIcon } from "../parts/icon.tsx";
import { isMenuKey, isSelectKey } from "../parts/keys.ts";
import { label } from "../parts/names.ts";
import { ROW_HEIGHT, Spacer, scrollToRow, useSlice } from "../parts/virtual.tsx";
import { alertCounts } from "../state/marks.ts";
import { openMenu } from "../state/menu.ts";
import { isOpen, setAllOpen, setOpen } from "../state/branches.ts";
import { addSelected, selectAlone, selectedIds, selectedNodes, toggleSelected } from "../state/selected.ts";
import { model, structureVersion } from "../state/session.ts";
import { select, selection } from "../state/view.ts";

/** Characters that are keys of the whole page, in the tree too; others go to a name that begins with them. */
const PAGE_KEYS = ["/", "?"];
/** Time after which typed letters begin a new word. */
const TYPING_MS = 700;

export function Tree() {
  const rows = useComputed(() => {
    structureVersion.value;
    return outline(model, isOpen);
  });
  const scroller = useRef<HTMLDivElement>(null);
  /** Id of the row that the keyboard acts on. */
  const active = useSignal<string | null>(null);
  const typed = useRef({ text: "", at: 0 });

  useSignalEffect(() => {
    const node = model.find(selection.value);
    if (node) {
      active.value = node.id;
      const index = rows.peek().findIndex((row) => row.node === node);
      scrollToRow(scroller.current, index, ROW_HEIGHT);
    }
  });

  const focusRow = (index: number) => {
    const row = rows.peek()[index];
    if (!row) {
      return;
    }
    active.value = row.node.id;
    scrollToRow(scroller.current, index, ROW_HEIGHT);
    requestAnimationFrame(() => {
      const items = scroller.current?.querySelectorAll<HTMLElement>("[role=treeitem]") ?? [];
      [...items].find((item) => item.dataset["id"] === row.node.id)?.focus();
    });
  };

  const onKeyDown = (event: KeyboardEvent) => {
    const list = rows.peek();
    const index = list.findIndex((row) => row.node.id === active.peek());
    const row = list[index];
    const isToggle = isSelectKey(event);
    if (!row || (event.ctrlKey && !isToggle) || event.altKey || event.metaKey) {
      return;
    }
    const move = moveOf(event.key, list, index);
    if (isToggle) {
      toggleSelected(row.node);
      // The keyboard stays at its row, also if the first selected node is now another one.
      active.value = row.node.id;
    } else if (move !== undefined) {
      focusRow(move);
    } else if (event.key === "ArrowRight" && row.isOpen === false) {
      setOpen([row.node], true);
    } else if (event.key === "ArrowLeft" && row.isOpen) {
      setOpen([row.node], false);
    } else if (event.key === "Enter") {
      select(row.node.tid);
    } else if (isMenuKey(event)) {
      selectAlone(row.node);
      const area = (event.target as HTMLElement).getBoundingClientRect();
      openMenu.value = { x: area.left + 40, y: area.bottom };
    } else if (event.key === "*") {
      setOpen(
        list.filter((other) => isSibling(row, other)).map((other) => other.node),
        true,
      );
    } else if (event.key.length === 1 && !PAGE_KEYS.includes(event.key)) {
      focusRow(findTyped(list, index, event, typed.current));
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  /** Selects the node of a row. With Shift, adds all from the last selected one to it; with Ctrl, adds it or
   * takes it away. */
  const onSelect = useCallback((node: GraphNode, event: MouseEvent) => {
    if (event.shiftKey) {
      const list = rows.peek().map((row) => row.node);
      addSelected(rangeTo(list, selectedNodes.peek().at(-1), node));
    } else if (event.ctrlKey || event.metaKey) {
      toggleSelected(node);
    } else {
      select(node.tid);
    }
  }, []);

  const onFocus = (event: FocusEvent) => {
    const id = (event.target as HTMLElement).dataset["id"];
    if (id !== undefined) {
      active.value = id;
    }
  };

  const list = rows.value;
  const slice = useSlice(scroller, list.length, ROW_HEIGHT);
  const first = list[0]?.node.id;
  const focusable = list.some((row) => row.node.id === active.value) ? active.value : first;
  return (
    <section class="tree-panel" aria-label="Hosts and namespaces">
      <div class="toolbar">
        <button type="button" onClick={() => setAllOpen(true)}>
          Expand all
        </button>
        <button type="button" onClick={() => setAllOpen(false)}>
          Collapse all
        </button>
      </div>
      <div
        class="tree"
        role="tree"
        aria-label="Hosts and namespaces"
        aria-multiselectable={true}
        ref={scroller}
        onKeyDown={onKeyDown}
        onFocusIn={onFocus}
      >
        <Spacer height={slice.before} />
        {list.slice(slice.first, slice.end).map((row) => (
          <Row
            key={row.node.id}
            id={row.node.id}
            name={treeName(row.node, alertCounts.value.get(row.node.id))}
            isDropping={row.node.isDropping}
            level={row.level}
            position={row.position}
            siblings={row.siblings}
            isOpen={row.isOpen}
            isSelected={selectedIds.value.has(row.node.id)}
            isFocusable={row.node.id === focusable}
            onSelect={onSelect}
          />
        ))}
        <Spacer height={slice.after} />
      </div>
    </section>
  );
}

/** Returns the row that a key moves to; `undefined` if the key does not move. */
function moveOf(key: string, list: OutlineRow[], index: number): number | undefined {
  const row = list[index];
  switch (key) {
    case "ArrowDown":
      return Math.min(index + 1, list.length - 1);
    case "ArrowUp":
      return Math.max(index - 1, 0);
    case "Home":
      return 0;
    case "End":
      return list.length - 1;
    case "ArrowRight":
      return row?.isOpen ? index + 1 : undefined;
    case "ArrowLeft":
      return row?.isOpen ? undefined : list.findLastIndex((other, at) => at < index && other.level < (row?.level ?? 0));
    default:
      return undefined;
  }
}

function isSibling(row: OutlineRow, other: OutlineRow): boolean {
  return other.isOpen !== undefined && model.owner(other.node) === model.owner(row.node);
}

/** Returns the next row whose name begins with the typed letters. */
function findTyped(
  list: OutlineRow[],
  index: number,
  event: KeyboardEvent,
  typed: { text: string; at: number },
): number {
  const now = event.timeStamp;
  typed.text = now - typed.at < TYPING_MS ? typed.text + event.key.toLowerCase() : event.key.toLowerCase();
  typed.at = now;
  const start = typed.text.length === 1 ? index + 1 : index;
  const order = list.map((_, step) => (start + step) % list.length);
  return order.find((at) => list[at]?.node.name.toLowerCase().startsWith(typed.text)) ?? index;
}

interface RowProps {
  id: string;
  name: string;
  level: number;
  position: number;
  siblings: number;
  isOpen: boolean | undefined;
  isSelected: boolean;
  isFocusable: boolean;
  isDropping: boolean;
  onSelect: (node: GraphNode, event: MouseEvent) => void;
}

const Row = memo(function Row({
  id,
  name,
  level,
  position,
  siblings,
  isOpen: open,
  isSelected,
  isFocusable,
  isDropping,
  onSelect,
}: RowProps) {
  const node = model.nodes.get(id);
  if (!node) {
    return null;
  }
  const toggle = (event: Event) => {
    event.stopPropagation();
    setOpen([node], !open);
  };
  return (
    <div
      role="treeitem"
      class={isSelected ? "row selected" : "row"}
      data-id={id}
      aria-label={name}
      aria-level={level}
      aria-posinset={position}
      aria-setsize={siblings}
      aria-selected={isSelected}
      aria-expanded={open}
      tabIndex={isFocusable ? 0 : -1}
      style={{ height: `${ROW_HEIGHT}px`, paddingInlineStart: `${(level - 1) * 16 + 4}px` }}
      onClick={(event) => onSelect(node, event)}
      onDblClick={toggle}
      onContextMenu={(event) => {
        event.preventDefault();
        selectAlone(node);
        openMenu.value = { x: event.clientX, y: event.clientY };
      }}
    >
      <span
        class={open === undefined ? "twisty none" : open ? "twisty open" : "twisty"}
        aria-hidden="true"
        onClick={toggle}
      />
      <FamilyIcon family={node.family} isDown={isDown(node)} />
      <span class="row-name">{label(node.name)}</span>
      <span class="row-type">{` ${label(node.type, 24)}`}</span>
      {node.isCaptured && (
        <span class="badge capture" title="captured">
          ●
        </span>
      )}
      {isDropping && (
        <span class="badge capture" title="A capture loses packets">
          !
        </span>
      )}
    </div>
  );
});
