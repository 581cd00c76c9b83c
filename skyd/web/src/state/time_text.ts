// Times that users type. Pure.

const UNITS: Record<string, number> = {
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
};

/** Returns the time that a text means, in Unix milliseconds; `undefined` if it means none.
 *
 * Understands a time of the last 24 hours (`13:05`, `13:05:09`), a date with time in the time zone of
 * the browser (`2026-11-29 13:05`), ISO 8601, a distance to the present (`-10m`, `-1h30m`, `-2d`), and Unix
 * time in seconds or milliseconds. */
export function parseTime(text: string, now: number): number | undefined {
  const trimmed = text.trim();
  if (/^\d{9,}$/.test(trimmed)) {
    const number = Number(trimmed);
    return number > 2 ** 31 ? number : number * 1000;
  }
  if (trimmed.startsWith("-")) {
    return relative(trimmed.slice(1), now);
  }
  const clock = /^(\d{1,2}):(\d{2})(?::(\d{2}))?$/.exec(trimmed);
  if (clock) {
    const [hours, minutes, seconds] = clock.slice(1).map((part) => Number(part ?? 0)) as [number, number, number];
    if (hours > 23 || minutes > 59 || seconds > 59) {
      return undefined;
    }
    const date = new Date(now);
    date.setHours(hours, minutes, seconds, 0);
    const time = date.getTime();
    return time > now ? time - 86_400_000 : time;
  }
  const time = /^\d{4}-\d{2}-\d{2}/.test(trimmed) ? Date.parse(trimmed.replace(" ", "T")) : Number.NaN;
  return Number.isNaN(time) ? undefined : time;
}

function relative(text: string, now: number): number | undefined {
  if (!/^(\d+(\.\d+)?(s|min|m|h|d|w))+$/.test(text)) {
    return undefined;
  }
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(s|min|m|h|d|w)/g)];
  return now - parts.reduce((sum, [, number, unit]) => sum + Number(number) * (UNITS[unit ?? ""] ?? 0), 0);
}
