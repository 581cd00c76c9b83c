// A time in a table: shown in the time zone of the browser, copied as ISO 8601.

import { dateTime, timeZone } from "./units.ts";

export class Moment {
  /** Unix milliseconds. */
  readonly ms: number;

  constructor(ms: number) {
    this.ms = ms;
  }

  /** Returns the time in ISO 8601; empty if a date cannot express it. */
  get iso(): string {
    const date = new Date(this.ms);
    return Number.isNaN(date.getTime()) ? "" : date.toISOString();
  }
}

export function MomentText({ moment }: { moment: Moment }) {
  return (
    <time dateTime={moment.iso} title={timeZone(moment.ms)}>
      {dateTime(moment.ms)}
    </time>
  );
}
