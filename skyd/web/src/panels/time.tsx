// Time travel: a slider over the daemon's history, steps, a text field, and the way back to the present.

import { batch, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { errorText, historyNote } from "../net/rest.ts";
import { now } from "../parts/clock.ts";
import { useRepeat } from "../parts/repeat.ts";
import { clock, dateTime, timeZone } from "../parts/units.ts";
import { compareWith, endComparison } from "../state/comparison.ts";
import { oldest } from "../state/health.ts";
import { timeError } from "../state/session.ts";
import { changeTimes, markHeights, readChangeTimes } from "../state/time_marks.ts";
import { parseTime } from "../state/time_text.ts";
import { pastTime, savedGraph } from "../state/view.ts";

/** Shortest time between two requests while the slider moves. */
const REQUEST_MS = 150;
const MINUTE_MS = 60_000;
const SECOND_MS = 1000;
/** Positions at most this long before the present are the present. */
const PRESENT_MS = 500;

export function Time() {
  const text = useSignal("");
  const note = useSignal("");
  /** Position of the slider while a request is pending. */
  const dragged = useSignal<number | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  /** Time to show when the timer ends. */
  const next = useRef<number | null>(null);
  useEffect(() => () => clearTimeout(timer.current), []);

  const [from, to] = [oldest.value ?? now.value, now.value];
  const go = (time: number | null) => {
    savedGraph.value = null;
    const isPresent = time === null || time >= Date.now() - PRESENT_MS;
    const target = isPresent ? null : Math.max(time, oldest.value ?? time);
    dragged.value = target;
    timeError.value = "";
    note.value = time !== null && time < (oldest.value ?? time) ? historyNote(oldest.value ?? time) : "";
    // The graph follows a slider that moves without pause: the time is shown at this interval, not at its end.
    next.current = target;
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      endComparison();
      batch(() => {
        pastTime.value = next.current;
        dragged.value = null;
      });
    }, REQUEST_MS);
  };
  const current = dragged.value ?? pastTime.value;
  const shown = current ?? to;
  const step = (delta: number) => go(shown + delta);
  const submit = (event: Event) => {
    event.preventDefault();
    const time = parseTime(text.value, Date.now());
    if (time === undefined) {
      note.value = "Not a time: 13:05, 2026-11-29 13:05, -10m, -2d, or Unix milliseconds";
      return;
    }
    go(time);
    note.value ||= `Understood as ${dateTime(time)}`;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const delta = {
      ArrowLeft: -SECOND_MS,
      ArrowDown: -SECOND_MS,
      ArrowRight: SECOND_MS,
      ArrowUp: SECOND_MS,
      PageUp: MINUTE_MS,
      PageDown: -MINUTE_MS,
    }[event.key];
    if (delta !== undefined) {
      step(delta);
    } else if (event.key === "Home") {
      go(from);
    } else if (event.key === "End") {
      go(null);
    } else {
      return;
    }
    event.preventDefault();
  };
  const held = useRepeat((direction, isShift) => {
    step(direction * (isShift ? SECOND_MS : MINUTE_MS));
    return direction < 0 || current !== null;
  });
  const hasHistory = oldest.value !== undefined;
  return (
    <section class="time" aria-label="Time">
      <button type="button" disabled={!hasHistory} title="One minute back; with Shift one second" {...held(-1)}>
        Back
      </button>
      <button type="button" disabled={current === null} title="One minute forward; with Shift one second" {...held(1)}>
        Forward
      </button>
      <span
        class="slider"
        onPointerEnter={() => hasHistory && void readChangeTimes(from)}
        onFocusIn={() => hasHistory && void readChangeTimes(from)}
      >
        <Marks from={from} to={to} />
        <input
          type="range"
          aria-label="Time"
          aria-valuetext={current === null ? "live" : dateTime(current)}
          min={from}
          max={to}
          step={1}
          value={shown}
          disabled={!hasHistory}
          onInput={(event) => go(Number(event.currentTarget.value))}
          onKeyDown={onKeyDown}
        />
      </span>
      <span class="time-shown" title={timeZone(current ?? now.value)}>
        {current === null ? clock(now.value) : dateTime(current)}
      </span>
      <form onSubmit={submit}>
        <input
          type="text"
          aria-label="Go to time"
          placeholder="-10m, 13:05"
          size={16}
          value={text.value}
          onInput={(event) => (text.value = event.currentTarget.value)}
        />
      </form>
      <button type="button" aria-pressed={current === null && savedGraph.value === null} onClick={() => go(null)}>
        Live
      </button>
      {pastTime.value !== null && (
        <button
          type="button"
          onClick={() => void compareWith(null).catch((error: unknown) => (note.value = errorText(error)))}
        >
          Compare with now
        </button>
      )}
      <span class="note" role="status" aria-label="Time note">
        {timeError.value || note.value || (hasHistory ? "" : "No history")}
      </span>
    </section>
  );
}

/** Height of the marks above the slider, in pixels. */
const MARK_HEIGHT = 8;

/** Marks that show when how much changed. */
function Marks({ from, to }: { from: number; to: number }) {
  const times = changeTimes.value;
  if (times.length === 0) {
    return null;
  }
  const heights = markHeights(times, from, to);
  const path = heights
    .map((height, slot) =>
      height > 0 ? `M${slot},${MARK_HEIGHT}V${MARK_HEIGHT * (1 - height)}h1V${MARK_HEIGHT}z` : "",
    )
    .join("");
  return (
    <svg
      class="time-marks"
      role="img"
      aria-label={`${times.length} changes in the history`}
      viewBox={`0 0 ${heights.length} ${MARK_HEIGHT}`}
      preserveAspectRatio="none"
    >
      <path d={path} />
    </svg>
  );
}
