// Traffic of an interface over time: bytes, packets, errors and drops per second.

import { useComputed } from "@preact/signals";
import type { GraphNode } from "../../graph/model.ts";
import { now } from "../../parts/clock.ts";
import { Plot } from "../../parts/plot.tsx";
import { byteRate, rate } from "../../parts/units.ts";
import { WINDOW_MS, seriesOf } from "../../state/metrics.ts";
import type { Point } from "../../state/metrics_series.ts";

const MINUTES = WINDOW_MS / 60_000;

interface Chart {
  title: string;
  format: (perSecond: number) => string;
  lines: [string, (point: Point) => number][];
}

const CHARTS: Chart[] = [
  {
    title: "Bytes a second",
    format: byteRate,
    lines: [
      ["Received", (point) => point.rxBytes],
      ["Sent", (point) => point.txBytes],
    ],
  },
  {
    title: "Packets a second",
    format: rate,
    lines: [
      ["Received", (point) => point.rxPackets],
      ["Sent", (point) => point.txPackets],
    ],
  },
  {
    title: "Errors and drops a second",
    format: rate,
    lines: [
      ["Errors", (point) => point.errors],
      ["Drops", (point) => point.drops],
    ],
  },
];

export function Metrics({ node }: { node: GraphNode }) {
  const series = useComputed(() => seriesOf(node, now.value));
  const points = series.value;
  const last = points.at(-1);
  return (
    <div class="charts">
      {CHARTS.map(({ title, format, lines }) => (
        <figure key={title}>
          <figcaption>
            {title}:{" "}
            {lines.map(([name, value], index) => (
              <span key={name} class={`line-${index}`}>
                {name} {format(last ? value(last) : 0)}{" "}
              </span>
            ))}
          </figcaption>
          <Plot
            name={`${title}, last ${MINUTES} minutes`}
            times={points.map((point) => point.time / 1000)}
            lines={lines.map(([, value]) => points.map(value))}
            format={format}
            end={now.value / 1000}
            span={WINDOW_MS / 1000}
          />
        </figure>
      ))}
    </div>
  );
}
