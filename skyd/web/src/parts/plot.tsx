// A plot of lines over time, drawn by uPlot.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { clock } from "./units.ts";
import { activeTheme } from "../state/theme.ts";

interface Props {
  /** Accessible name. */
  name: string;
  /** Times in Unix seconds. */
  times: number[];
  lines: number[][];
  format: (value: number) => string;
  /** Right end of the time axis, in Unix seconds, and its length. */
  end: number;
  span: number;
}

const HEIGHT = 120;

export function Plot({ name, times, lines, format, end, span }: Props) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const range = useRef<[number, number]>([0, 1]);
  range.current = [end - span, end];
  const theme = activeTheme.value;
  useEffect(() => {
    const element = holder.current;
    if (!element) {
      return undefined;
    }
    const style = getComputedStyle(document.documentElement);
    const color = (variable: string) => style.getPropertyValue(variable).trim();
    const axis = {
      stroke: color("--dim-text"),
      grid: { stroke: color("--border"), width: 1 },
      ticks: { stroke: color("--border") },
    };
    const created = new uPlot(
      {
        width: Math.max(element.clientWidth, 100),
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: true, range: () => range.current },
          y: { range: (_, __, max) => [0, Math.max(max || 0, 1) * 1.1] },
        },
        axes: [
          { ...axis, values: (_, ticks) => ticks.map((tick) => clock(tick * 1000).slice(0, 5)) },
          { ...axis, size: 70, values: (_, ticks) => ticks.map(format) },
        ],
        series: [
          {},
          ...lines.map((_, index) => ({
            stroke: color(`--line-${index}`),
            width: 2,
            points: { show: false },
            fill: index === 0 ? color("--line-fill") : "transparent",
          })),
        ],
      },
      [times, ...lines],
      element,
    );
    plot.current = created;
    const observer = new ResizeObserver(() =>
      created.setSize({ width: Math.max(element.clientWidth, 100), height: HEIGHT }),
    );
    observer.observe(element);
    return () => {
      observer.disconnect();
      created.destroy();
    };
    // The plot is created once per theme; data arrives below.
  }, [theme]);
  useEffect(() => plot.current?.setData([times, ...lines]));
  return <div class="plot" role="img" aria-label={name} ref={holder} />;
}
