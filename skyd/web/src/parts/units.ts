// Quantities as text: bytes, rates, counts, durations, times.

import { ratesInBits } from "./rate_unit.ts";

const PREFIXES = ["", "k", "M", "G", "T", "P"];

/** Returns a number with a decimal prefix and three significant digits: `12.3 k`. */
function prefixed(value: number): string {
  let scaled = Math.abs(value);
  let prefix = 0;
  while (scaled >= 999.5 && prefix < PREFIXES.length - 1) {
    scaled /= 1000;
    prefix += 1;
  }
  const digits = prefix === 0 || scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2;
  return `${value < 0 ? "-" : ""}${scaled.toFixed(digits)} ${PREFIXES[prefix] ?? ""}`;
}

/** Returns a number of bytes: `12.3 kB`. */
export function bytes(value: number): string {
  return `${prefixed(value)}B`;
}

/** Returns a rate of bytes: `12.3 kB/s`, or `98.4 kbit/s` if the user prefers bits. */
export function byteRate(perSecond: number): string {
  return ratesInBits.value ? `${prefixed(8 * perSecond)}bit/s` : `${bytes(perSecond)}/s`;
}

/** Returns a rate of packets or events: `120 /s`. */
export function rate(perSecond: number): string {
  const text = perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : prefixed(perSecond).trim();
  return `${text} /s`;
}

/** Returns an amount with thin spaces between groups of three digits: `1 234 567`. */
export function amount(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** Returns a duration in its largest unit: `350 ms`, `12 s`, `5 min`, `3 h`, `2 d`. */
export function duration(ms: number): string {
  const steps: [number, string][] = [
    [86_400_000, "d"],
    [3_600_000, "h"],
    [60_000, "min"],
    [1000, "s"],
  ];
  const [unit, name] = steps.find(([size]) => ms >= size) ?? [1, "ms"];
  return `${Math.floor(ms / unit)} ${name}`;
}

/** Returns a duration in nanoseconds as milliseconds: `1.25 ms`. */
export function nanoseconds(ns: number): string {
  return `${(ns / 1e6).toPrecision(3)} ms`;
}

const two = (value: number) => String(value).padStart(2, "0");

/** Returns a time of day in the time zone of the browser: `13:05:09`. */
export function clock(ms: number): string {
  const date = new Date(ms);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
}

/** Returns a date and time in the time zone of the browser: `2026-11-29 13:05:09`. */
export function dateTime(ms: number): string {
  const date = new Date(ms);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${clock(ms)}`;
}

/** A formatter takes long to construct, and tables call it for each row. */
const zoneFormat = new Intl.DateTimeFormat("en", { timeZoneName: "long" });

/** Returns the name of the browser's time zone at a time: `Central European Standard Time`. */
export function timeZone(ms: number): string {
  const date = new Date(ms);
  const parts = Number.isNaN(date.getTime()) ? [] : zoneFormat.formatToParts(date);
  return parts.find(({ type }) => type === "timeZoneName")?.value ?? "";
}

/** Returns bytes as Base64 (RFC 4648). */
export function base64(data: Uint8Array): string {
  let text = "";
  // A call has a limited number of arguments.
  for (let at = 0; at < data.length; at += 0x8000) {
    text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  }
  return btoa(text);
}
