// Attack: the form while nothing runs; else what runs, or has just ended.
import { el, fill, say, choice, tile } from "./dom.js";
import { number, rate, duration, span, count } from "./format.js";
import { chart, line, area, dashed, fromZero, decades, stack } from "./chart.js";
import { store, on, recent, command } from "./store.js";
import { startForm } from "./form.js";
import { statistics, failures } from "./tables.js";
import { verdictCard } from "./verdict.js";

const windows = [["60", "1 min"], ["300", "5 min"], ["1800", "30 min"], ["0", "whole run"]];

export function attackPart(root) {
  const form = startForm();
  const control = controls();
  const chosen = choice("Window", "span", windows, "0", () => plot());
  const tiles = {
    offered: tile("Offered now", "What the plan asks for"), admitted: tile("Admitted", "Mean of the last seconds"), throttled: tile("Throttled"), failed: tile("Failed"),
    p50: tile("p50 admitted", "From planned to done, all of the attack"), p99: tile("p99 admitted"), sent: tile("Sent"), behind: tile("Dropped", "By weir itself: planned, but too late to be sent"),
  };
  const plots = makePlots();
  const live = el("div", { class: "running" }, control.node, verdictCard().node,
    el("dl", { class: "tiles" }, Object.values(tiles).map((t) => t.node)),
    el("div", { class: "bar" }, el("h2", {}, "So far"), chosen.node),
    el("div", { class: "charts" }, Object.values(plots).map((p) => p.node)),
    statistics().node, failures().node);
  root.append(form.node, live);

  function layout() {
    const idle = store.state.phase === "idle";
    form.node.hidden = !idle;
    live.hidden = idle;
    control.show();
    document.getElementById("pulse").hidden = !["running", "stopping"].includes(store.state.phase);
  }

  function plot() {
    if (root.hidden || live.hidden) return;
    drawPlots(plots, recent(Number(chosen.value)));
  }

  function numbers() {
    const { counts, edit } = store.state;
    const total = store.tables?.total;
    const fine = store.rings[0]?.columns;
    const last = (name, rows) => {
      if (!fine || fine.at_s.length === 0) return null;
      const part = fine[name].slice(-rows);
      return part.reduce((sum, x) => sum + (x || 0), 0) / part.length;
    };
    const live = store.state.phase === "running";
    tiles.offered.show(!live ? "–" : edit === "users" ? number(last("users", 1)) : rate(last("offered", 1)), edit === "users" ? "users" : live ? "" : "ended");
    for (const name of ["admitted", "throttled", "failed"]) {
      tiles[name].show(live ? rate(last(name, 8)) : count(total?.[name]), live ? `${count(total?.[name] || 0)} so far` : "in all");
    }
    const l = total?.latency.admitted;
    tiles.p50.show(duration(l?.p50_ns));
    tiles.p99.show(l && l.count >= 100 ? duration(l.p99_ns) : "–", l ? `max ${duration(l.max_ns)}` : "");
    tiles.sent.show(count(counts.sent), `of ${count(counts.planned)}`);
    tiles.behind.show(count(counts.dropped), `${count(counts.late)} late`);
    tiles.behind.node.classList.toggle("warn", counts.dropped >= 0.01 * counts.planned && counts.dropped > 0);
  }

  on("all", () => { form.reset(); layout(); numbers(); plot(); });
  on("state", () => { layout(); numbers(); });
  on("tick", () => { control.tick(); numbers(); plot(); });
  return { show: () => { layout(); numbers(); plot(); } };
}

// controls are the bar that says what runs, and edits and stops it.
function controls() {
  const title = el("h1"), phase = el("span", { class: "phase", role: "status" }), what = el("p", { class: "small" });
  const progress = el("progress", { max: "1", "aria-label": "Progress" }), clock = el("span", { class: "clock" });
  const error = el("p", { class: "error", role: "alert", hidden: true }), note = el("p", { class: "note", hidden: true });
  const value = el("input", { type: "text", id: "edit-value", inputmode: "decimal", autocomplete: "off", size: "8" });
  const over = el("input", { type: "text", id: "edit-over", autocomplete: "off", size: "5", placeholder: "0s" });
  const unit = el("label", { for: "edit-value" }), within = el("span", { class: "group" }, el("label", { for: "edit-over" }, "within"), over);
  const edit = el("form", { class: "group edit", novalidate: true, onsubmit: apply }, unit, value, within, el("button", { type: "submit" }, "Apply"));
  const stop = el("button", { type: "button", class: "stop", onclick: () => run("/api/attack/stop") }, "Stop");
  const reset = el("button", { type: "button", class: "plain", title: "Clears the statistics on this page; the records stay whole", onclick: () => run("/api/attack/reset") }, "Reset statistics");
  const again = el("button", { type: "button", class: "go", onclick: () => run("/api/attack/reset") }, "New attack");
  const files = el("span", { class: "group files" });
  const node = el("div", { class: "control card" },
    el("div", { class: "bar" }, el("span", { class: "group" }, title, phase), el("span", { class: "group" }, edit, stop, reset, again)),
    what, el("div", { class: "group wide" }, progress, clock), error, note, files);

  async function run(path, body) {
    error.hidden = true;
    try {
      await command(path, body);
    } catch (e) {
      say(error, e.message);
      error.hidden = false;
    }
  }

  function apply(event) {
    event.preventDefault();
    const users = store.state.edit === "users";
    run("/api/attack/edit", users ? { users: Number(value.value) } : { rate: value.value.trim(), over: over.value.trim() });
  }

  function show() {
    const s = store.state;
    const running = s.phase === "running", over = s.phase === "done";
    say(title, s.form.name || "live");
    say(phase, { running: "running", stopping: "stopping: waiting for answers", judging: "judging", done: "ended", idle: "" }[s.phase]);
    phase.className = "phase " + s.phase;
    say(what, [s.load, `${(s.form.targets || []).map((t) => `${s.form.method || "GET"} ${t}`).join(", ")}`, s.form.limit && `limit ${s.form.limit}`, s.form.keys > 0 && `${count(s.form.keys)} ${s.form.keys === 1 ? "key" : "keys"}`].filter(Boolean).join(" · "));
    edit.hidden = !running || s.edit === "";
    within.hidden = s.edit === "users";
    say(unit, s.edit === "users" ? "Users" : "Rate");
    if (document.activeElement !== value) value.value = s.edit === "users" ? String(s.at) : number(s.at).replaceAll(",", "") + "/s";
    stop.hidden = !running;
    reset.hidden = !running;
    again.hidden = !over;
    note.hidden = !s.error && s.edits.length === 0;
    say(note, [s.error && `Ended early: ${s.error}.`, s.edits.length > 0 && "Edited: " + s.edits.map((e) => `${e.what} after ${span(e.at_s)}`).join(", ") + "."].filter(Boolean).join(" "));
    links(s);
    tick();
  }

  function links(s) {
    if (files.dataset.run === s.run + s.phase) return;
    files.dataset.run = s.run + s.phase;
    const link = (file, text) => el("a", { href: `/download/${encodeURIComponent(s.run)}/${file}`, download: "" }, text);
    fill(files, s.run === "" ? [] : ["Download ", link("requests.csv", "requests CSV"), link("statistics.csv", "statistics CSV"), link("failures.csv", "failures CSV"), link("history.csv", "history CSV"),
      link("records.parquet", "Parquet"), s.phase === "done" ? [link("report.html", "HTML report"), el("a", { href: `/runs/${encodeURIComponent(s.run)}/report.html`, target: "_blank", rel: "noopener" }, "open report")] : null]);
  }

  function tick() {
    const s = store.state;
    progress.value = s.duration > 0 ? Math.min(1, s.elapsed / s.duration) : 0;
    say(clock, `${span(Math.min(s.elapsed, Math.max(s.duration, 0)))} of ${span(s.duration)}`);
  }

  return { node, show, tick };
}

const seconds = (x) => (x < 120 ? `${Number(x.toFixed(2))} s` : span(x));

function makePlots() {
  const part = (i, below) => (u, v, s, at) => rate(u.data[i][at] - (below ? u.data[below][at] : 0));
  const common = { x: seconds, sync: "attack", empty: "Waiting for the first answers…" };
  return {
    outcomes: chart({
      ...common, name: "outcomes", title: "Requests per second", about: "by outcome, stacked", y: rate,
      series: [area("failed", "failed", { stairs: true, value: part(1, 2) }), area("throttled", "throttled", { stairs: true, value: part(2, 3) }), area("admitted", "admitted", { stairs: true, value: part(3) }), dashed("limit", "ink")],
      bands: [{ series: [1, 2] }, { series: [2, 3] }],
    }),
    latency: chart({
      ...common, name: "latency", title: "Latency", about: "planned to done, log scale", y: duration, yScale: { distr: 3, range: decades },
      series: [line("admitted p50", "admitted"), line("admitted p99", "admitted", { dash: [3, 3], width: 1.25 }), line("throttled p50", "throttled"), line("throttled p99", "throttled", { dash: [3, 3], width: 1.25 }), line("failed p50", "failed", { points: { show: true, size: 3 } })],
    }),
    lag: chart({
      ...common, name: "lag", title: "Send lag", about: "how late weir itself was", y: duration, yScale: { range: fromZero(1e6) },
      series: [line("p50", "ink"), line("p99", "soft", { dash: [6, 3] }), line("max", "soft", { dash: [1, 3] })],
    }),
    load: chart({
      ...common, name: "load", title: "Load offered", about: "what the plan asks for, and what was answered", y: number,
      series: [line("offered", "ink", { shade: 0.06 }), line("answered", "admitted", { width: 1 })],
    }),
  };
}

function drawPlots(plots, h) {
  if (!h) {
    for (const p of Object.values(plots)) p.set([[]]);
    return;
  }
  const at = h.column("at_s");
  const [admitted, both, all] = stack([h.column("admitted"), h.column("throttled"), h.column("failed")]);
  const most = all.reduce((m, x) => Math.max(m, x), 0), limit = store.state.limit_all;
  const near = limit > 0 && limit <= 4 * most;
  plots.outcomes.set([at, all, both, admitted, at.map(() => (near ? limit : null))]);
  plots.outcomes.say(limit > 0 && !near && most > 0 ? `by outcome, stacked; the limit of ${rate(limit)} is far above` : "by outcome, stacked");
  plots.latency.set([at, ...["admitted_p50_ns", "admitted_p99_ns", "throttled_p50_ns", "throttled_p99_ns", "failed_p50_ns"].map(h.column)]);
  plots.lag.set([at, h.column("lag_p50_ns"), h.column("lag_p99_ns"), h.column("lag_max_ns")]);
  const users = h.column("users");
  const closed = users.some((x) => x != null);
  plots.load.set([at, closed ? users : h.column("offered"), closed ? at.map(() => null) : all]);
  plots.load.say(closed ? "users, each waiting for its answer" : "requests a second the plan asks for, and what was answered");
}
