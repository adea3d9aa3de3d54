// The tables below the plots: statistics per target and key group, failures.
import { el, fill, choice } from "./dom.js";
import { count, rate, duration, bytes, since } from "./format.js";
import { store, on } from "./store.js";

const columns = [
  ["name", "Target or keys"], ["requests", "Requests", count], ["admitted", "Admitted", count], ["throttled", "Throttled", count], ["failed", "Failed", count],
  ["p50_ns", "Median", duration, 1], ["p95_ns", "p95", duration, 1], ["p99_ns", "p99", duration, 1], ["p999_ns", "p99.9", duration, 1],
  ["mean_ns", "Average", duration, 1], ["min_ns", "Min", duration, 1], ["max_ns", "Max", duration, 1],
  ["size", "Size", bytes], ["rate", "Now", rate],
];

export function statistics() {
  let sorted = "name", down = false;
  const outcome = choice("Latency of", "outcome", [["admitted", "admitted"], ["throttled", "throttled"], ["failed", "failed"]], "admitted", show);
  const head = el("tr", {}, columns.map(([key, title]) => el("th", { scope: "col", class: key === "name" ? "" : "n", "data-key": key },
    el("button", { type: "button", onclick: () => sort(key) }, title))));
  const body = el("tbody");
  const node = el("section", { class: "card", "aria-labelledby": "stats" },
    el("div", { class: "bar" }, el("h2", { id: "stats" }, "Statistics"), el("span", { class: "group" }, "Latency of", outcome.node)),
    el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Statistics" }, el("table", { id: "statistics" }, el("thead", {}, head), body)));

  function sort(key) {
    down = key === sorted ? !down : key !== "name";
    sorted = key;
    show();
  }

  function rows(lines, kind) {
    const value = (l) => l[sorted] ?? l.latency[outcome.value]?.[sorted] ?? -1;
    const ordered = sorted === "name" ? [...lines] : [...lines].sort((a, b) => value(a) - value(b));
    if (down) ordered.reverse();
    return ordered.map((l) => row(l, kind));
  }

  function row(l, kind) {
    const latency = l.latency[outcome.value];
    return el("tr", { class: kind }, columns.map(([key, , text, timed]) => {
      if (key === "name") return el("th", { scope: "row" }, l.name);
      const value = timed ? latency?.[key] : l[key];
      return el("td", { class: `n ${key}${key in l && !l[key] ? " none" : ""}` }, enough(key, latency) ? text(value) : "–");
    }));
  }

  // A percentile beyond the slowest request would be a guess.
  const beyond = { p95_ns: 20, p99_ns: 100, p999_ns: 1000 };
  const enough = (key, latency) => !(key in beyond) || (latency && latency.count >= beyond[key]);

  function show() {
    for (const th of head.children) {
      th.setAttribute("aria-sort", th.dataset.key !== sorted ? "none" : down ? "descending" : "ascending");
    }
    const t = store.tables;
    if (!t || t.total.requests === 0) {
      fill(body, el("tr", {}, el("td", { colspan: String(columns.length), class: "empty" }, "No answer yet.")));
      return;
    }
    fill(body, rows(t.targets, "target"), t.groups.length > 1 || t.groups[0] ? rows(t.groups, "keys") : null, row(t.total, "total"));
  }

  on("tables all", show);
  return { node };
}

export function failures() {
  const body = el("tbody");
  const node = el("section", { class: "card", "aria-labelledby": "failures-title" },
    el("h2", { id: "failures-title" }, "Failures ", el("span", {}, "neither admitted nor throttled")),
    el("div", { class: "scroll" }, el("table", { id: "failures" }, el("thead", {}, el("tr", {}, ["What", "Target"].map((t) => el("th", { scope: "col" }, t)),
      ["Count", "First", "Last"].map((t) => el("th", { scope: "col", class: "n" }, t)))), body)));

  function show() {
    const t = store.tables;
    if (!t || t.failures.length === 0) {
      fill(body, el("tr", {}, el("td", { colspan: "5", class: "empty" }, "No request failed.")));
      return;
    }
    fill(body, t.failures.map((f) => el("tr", {}, el("td", { class: "what" }, f.what), el("td", {}, f.target), el("td", { class: "n failed" }, count(f.count)),
      el("td", { class: "n", title: f.first }, since(f.first)), el("td", { class: "n", title: f.last }, since(f.last)))),
    t.other_failures > 0 ? el("tr", {}, el("td", {}, "others"), el("td"), el("td", { class: "n" }, count(t.other_failures)), el("td"), el("td")) : null);
  }

  on("tables all", show);
  return { node };
}
