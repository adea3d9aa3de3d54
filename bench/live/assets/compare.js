// Two runs side by side, plan by plan.
import { el, fill, chip } from "./dom.js";
import { count, rate, duration, number, since } from "./format.js";
import { chart, line, decades, fromZero } from "./chart.js";
import { ask } from "./store.js";

let drawn = [];

export async function comparison(root, a, b) {
  for (const c of drawn) c.destroy();
  drawn = [];
  const back = el("a", { href: "#runs" }, "All runs");
  fill(root, el("p", {}, back), el("p", { class: "loading" }, "Reading both runs…"));
  let reports;
  try {
    reports = await Promise.all([a, b].map((name) => ask(`/api/runs/${encodeURIComponent(name)}/report.json`)));
  } catch (e) {
    fill(root, el("p", {}, back), el("p", { class: "note" }, `These runs cannot be compared: ${e.message}`));
    return;
  }
  if (reports[0].run.started > reports[1].run.started) reports.reverse(); // the older is A
  fill(root, el("p", {}, back), el("h1", {}, "Two runs"), el("div", { class: "versus" }, reports.map(side)),
    el("p", { class: "note" }, "One run against one run: a difference may be chance. Repeat both before you believe it."), ...pairs(reports).map(pair));
  for (const c of drawn) c.redraw();
}

function side(r, i) {
  const report = `/runs/${encodeURIComponent(r.name)}/report.html`;
  return el("div", { class: "card side " + "ab"[i] }, el("p", {}, el("b", {}, "AB"[i]), " ", chip(r.verdict)), el("h2", {}, el("a", { href: report, target: "_blank", rel: "noopener" }, r.name)),
    el("p", { class: "small" }, `${since(r.run.started)} · commit ${r.run.commit} · ${r.run.host.cores} cores, ${r.run.host.go}`), el("p", {}, r.sentence));
}

// pairs finds the plans that both runs have; two runs of one plan each are a pair
// whatever the plans are called.
function pairs([a, b]) {
  if (a.plans.length === 1 && b.plans.length === 1) return [[a.plans[0], b.plans[0]]];
  return a.plans.flatMap((p) => b.plans.filter((q) => q.name === p.name).map((q) => [p, q]));
}

function pair([a, b]) {
  const title = a.name === b.name ? a.name : `${a.name} and ${b.name}`;
  return el("section", { class: "card pair" }, el("h2", {}, title), el("p", { class: "small" }, a.load === b.load ? a.load : `A: ${a.load}. B: ${b.load}.`), table(a, b), el("div", { class: "charts" }, plots(a, b)));
}

const outcome = (p, name) => p.outcomes.find((o) => o.name === name);

function table(a, b) {
  const rows = [];
  const add = (label, text, x, y) => rows.push([label, text, x, y]);
  add("Requests", count, a.records, b.records);
  for (const name of ["admitted", "throttled", "failed"]) add(name[0].toUpperCase() + name.slice(1), count, outcome(a, name).count, outcome(b, name).count);
  add("Admitted per second", rate, outcome(a, "admitted").count / (a.elapsed_ns / 1e9), outcome(b, "admitted").count / (b.elapsed_ns / 1e9));
  for (const name of ["admitted", "throttled"]) {
    const [x, y] = [outcome(a, name).latency, outcome(b, name).latency];
    if (x.count === 0 && y.count === 0) continue;
    for (const [q, key, least] of [["p50", "p50_ns", 1], ["p95", "p95_ns", 20], ["p99", "p99_ns", 100], ["p99.9", "p999_ns", 1000], ["max", "max_ns", 1]]) {
      add(`${q} ${name}`, duration, x.count >= least ? x[key] : null, y.count >= least ? y[key] : null);
    }
  }
  add("Send lag p99", duration, a.send_lag.p99_ns, b.send_lag.p99_ns);
  return el("div", { class: "scroll" }, el("table", { class: "compare" },
    el("thead", {}, el("tr", {}, ["", "A", "B", "B against A"].map((t, i) => el("th", { scope: "col", class: i ? "n" : "" }, t)))),
    el("tbody", {}, rows.map(([label, text, x, y]) => el("tr", {}, el("th", { scope: "row" }, label), el("td", { class: "n" }, text(x)), el("td", { class: "n" }, text(y)), el("td", { class: "n" }, change(x, y)))))));
}

function change(x, y) {
  if (x == null || y == null) return "–";
  if (x === y) return "the same";
  if (x === 0) return "new";
  const part = (y - x) / x;
  if (part >= 1) return `× ${number(y / x)}`;
  return `${part > 0 ? "+" : "−"}${number(Math.abs(100 * part))}%`;
}

// together puts columns of both on one axis.
function together(at, bt, as, bs) {
  return uPlot.join([[at, ...as], [bt, ...bs]]);
}

const seconds = (x) => `${Number(x.toFixed(2))} s`;
const percentile = (over) => (over >= 1e6 ? "99.9999%" : Number((100 - 100 / over).toPrecision(over < 100 ? 3 : 6)) + "%");

function plots(a, b) {
  const made = [];
  const gaps = { spanGaps: true };
  const put = (options, data) => {
    const c = chart({ empty: "Neither run has this.", still: true, ...options });
    c.set(data);
    made.push(c);
  };
  put({ name: "compare-rates", title: "Admitted per second", x: seconds, y: rate, series: [line("A", "a", { ...gaps }), line("B", "b", { ...gaps, dash: [6, 3] })], yScale: { range: fromZero() } },
    together(a.per_second.at_s, b.per_second.at_s, [a.per_second.admitted], [b.per_second.admitted]));
  put({ name: "compare-throttled", title: "Throttled per second", x: seconds, y: rate, series: [line("A", "a", { ...gaps }), line("B", "b", { ...gaps, dash: [6, 3] })], yScale: { range: fromZero() } },
    together(a.per_second.at_s, b.per_second.at_s, [a.per_second.throttled], [b.per_second.throttled]));
  put({
    name: "compare-latency", title: "Latency of admitted", about: "over time, log scale", x: seconds, y: duration, yScale: { distr: 3, range: decades },
    series: [line("A p50", "a", gaps), line("A p99", "a", { ...gaps, width: 1, dash: [3, 3] }), line("B p50", "b", gaps), line("B p99", "b", { ...gaps, width: 1, dash: [3, 3] })],
  }, together(a.latency.at_s, b.latency.at_s, [a.latency.admitted.p50_ns, a.latency.admitted.p99_ns], [b.latency.admitted.p50_ns, b.latency.admitted.p99_ns]));
  const [sa, sb] = [a.percentiles, b.percentiles];
  const last = Math.max(10, ...sa.over, ...sb.over), powers = [];
  for (let at = 1; at <= last; at *= 10) powers.push(at);
  put({
    name: "compare-shares", title: "Latency of admitted by percentile", about: "HDR, log scale", x: percentile, y: duration, yScale: { distr: 3, range: decades },
    xScale: { distr: 3, range: [1, last] }, xAxis: { splits: () => powers, filter: (u, at) => at },
    series: [line("A", "a", gaps), line("B", "b", { ...gaps, dash: [6, 3] })],
  }, together(sa.over, sb.over, [sa.admitted_ns], [sb.admitted_ns]));
  drawn.push(...made);
  return made.map((c) => c.node);
}
