// Tabs: a list of sections of which one is open.

import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";

export interface Section {
  name: string;
  content: () => ComponentChildren;
}

interface Props {
  label: string;
  sections: Section[];
  open: string;
  onOpen: (name: string) => void;
}

export function Tabs({ label, sections, open, onOpen }: Props) {
  const list = useRef<HTMLDivElement>(null);
  const shown = sections.find((section) => section.name === open) ?? sections[0];
  const index = shown ? sections.indexOf(shown) : -1;
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next =
      event.key === "Home"
        ? 0
        : event.key === "End"
          ? sections.length - 1
          : step === undefined
            ? undefined
            : (index + step + sections.length) % sections.length;
    const section = next === undefined ? undefined : sections[next];
    if (section) {
      event.preventDefault();
      onOpen(section.name);
      list.current?.querySelectorAll<HTMLElement>("[role=tab]")[next ?? 0]?.focus();
    }
  };
  return (
    <>
      <div class="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={onKeyDown}>
        {sections.map((section, at) => (
          <button
            key={section.name}
            type="button"
            role="tab"
            id={`tab-${at}`}
            aria-selected={section === shown}
            aria-controls={section === shown ? `tabpanel-${at}` : undefined}
            tabIndex={section === shown ? 0 : -1}
            onClick={() => onOpen(section.name)}
          >
            {section.name}
          </button>
        ))}
      </div>
      {shown && (
        <div
          class="tabpanel"
          key={shown.name}
          role="tabpanel"
          id={`tabpanel-${index}`}
          aria-labelledby={`tab-${index}`}
          tabIndex={0}
        >
          {shown.content()}
        </div>
      )}
    </>
  );
}
