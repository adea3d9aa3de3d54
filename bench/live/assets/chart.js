// Plots. Each is redrawn at most once a frame, and not at all while nobody sees it.
import { el, say } from "./dom.js";

const height = 220;
const charts = new Set();
const probe = document.createElement("i");
let colors = {};

// color is a custom property of live.css as the theme has it now.
export function color(name) {
  if (!colors[name]) {
    if (!probe.isConnected) { probe.hidden = true; document.body.append(probe); }
    probe.style.color = `var(--${name})`;
    colors[name] = getComputedStyle(probe).color;
  }
  return colors[name];
}

export const faded = (name, alpha) => color(name).replace("rgb(", "rgba(").replace(")", `, ${alpha})`);

export const line = (label, name, more = {}) => ({ label, ink: name, width: 1.75, points: { show: false }, ...more });
export const area = (label, name, more = {}) => line(label, name, { shade: 0.75, width: 1, ...more });
export const dashed = (label, name, more = {}) => line(label, name, { dash: [6, 4], width: 1.5, ...more });

// range of a linear scale that begins at 0, with room above.
export const fromZero = (least = 1) => (u, low, high) => [0, Math.max(high || 0, least) * 1.08];

// decades of a log scale around the data.
export function decades(u, low, high) {
  if (!(high > 0)) return [1e4, 1e7];
  return [10 ** Math.floor(Math.log10(Math.max(low, 1))), 10 ** Math.ceil(Math.log10(high * 1.05))];
}

// chart makes a figure. options: title, about, x and y (texts of values), series,
// bands, scales, hooks, still. set(data) draws columns; an empty first column shows why.
export function chart(options) {
  const box = el("div", { class: "plot" });
  const empty = el("p", { class: "empty" }, options.empty || "Nothing to plot yet.");
  const aside = el("span", {}, options.about || "");
  const node = el("figure", { "data-chart": options.name }, el("figcaption", {}, options.title, " ", aside), empty, box);
  const self = { node, set, destroy, redraw, say: (text) => say(aside, text), plot: null };
  let data = null, waiting = 0;

  function set(columns) {
    data = columns;
    if (!waiting) waiting = requestAnimationFrame(draw);
  }

  function draw() {
    waiting = 0;
    const any = data && data[0].length > 0;
    empty.hidden = any;
    box.hidden = !any;
    if (!any || !node.isConnected || box.clientWidth === 0) return;
    if (!self.plot) {
      self.plot = new uPlot(settings(options, box), data, box);
      if (performance.getEntriesByName("first-plot").length === 0) performance.mark("first-plot");
      return;
    }
    if (self.plot.width !== box.clientWidth) self.plot.setSize({ width: box.clientWidth, height });
    self.plot.setData(data);
  }

  function redraw() {
    if (self.plot) self.plot.destroy();
    self.plot = null;
    if (data) set(data);
  }

  function destroy() {
    cancelAnimationFrame(waiting);
    if (self.plot) self.plot.destroy();
    self.plot = null;
    charts.delete(self);
  }

  charts.add(self);
  return self;
}

function settings(options, box) {
  const series = options.series.map((s) => ({
    ...s, stroke: color(s.ink), fill: s.shade ? faded(s.ink, s.shade) : undefined,
    paths: s.stairs ? uPlot.paths.stepped({ align: 1 }) : undefined,
    value: latest(options, s.value || ((u, v) => options.y(v))),
  }));
  const common = { stroke: color("soft"), font: "12px system-ui, sans-serif", ticks: { show: false } };
  const round = (u, at) => at.map((v) => (u.scales.y.distr !== 3 || Number.isInteger(Number(Math.log10(v).toFixed(9))) ? v : null));
  const text = (f) => (u, at) => at.map((v) => (v == null ? "" : f(v)));
  return {
    width: box.clientWidth, height, padding: [10, 14, 0, 0],
    series: [{ label: "", value: latest(options, (u, v) => (v == null ? "" : options.x(v))) }, ...series],
    bands: options.bands || [],
    hooks: options.hooks || {},
    scales: { x: { time: false, ...(options.xScale || {}) }, y: options.yScale || { range: fromZero() } },
    axes: [
      { ...common, grid: { show: false }, values: text(options.x), space: 70, size: 30, ...(options.xAxis || {}) },
      { ...common, grid: { stroke: color("rule"), width: 1, filter: round }, values: text(options.y), size: options.yWidth || 64, gap: 6, space: 34 },
    ],
    cursor: { points: { size: 6 }, y: false, drag: { x: false, y: false }, sync: options.sync ? { key: options.sync, setSeries: false } : undefined },
    legend: { markers: { width: 2, stroke: (u, i) => u.series[i]._stroke || ink(u, i), fill: (u, i) => (u.series[i].dash ? null : ink(u, i)), dash: (u, i) => (u.series[i].dash ? "dashed" : "solid") } },
  };
}

// latest shows the newest value while no cursor points at another; plots of the
// past, with still, show none.
function latest(options, text) {
  return (u, v, series, at) => {
    if (at == null && options.still) return "";
    const i = at ?? u.data[0].length - 1;
    return text(u, at == null ? u.data[series][i] : v, series, i);
  };
}

function ink(u, i) {
  const stroke = u.series[i].stroke;
  return typeof stroke === "function" ? stroke(u, i) : stroke;
}

// recolor draws every plot again in the colours of another theme.
export function recolor() {
  colors = {};
  for (const c of charts) c.redraw();
}

// stack adds columns up, the first at the bottom.
export function stack(columns) {
  const sums = [];
  let below = null;
  for (const column of columns) {
    below = below ? column.map((x, i) => (x || 0) + below[i]) : column.map((x) => x || 0);
    sums.push(below);
  }
  return sums;
}

let waiting = 0;
addEventListener("resize", () => {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => {
    for (const c of charts) {
      const box = c.node.querySelector(".plot");
      if (c.plot && box.clientWidth > 0 && box.clientWidth !== c.plot.width) c.plot.setSize({ width: box.clientWidth, height });
    }
  });
});
