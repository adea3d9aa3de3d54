// Watch: what each API says of itself at /metrics.
import { el, fill, say, choice, tile } from "./dom.js";
import { number, rate, duration, share, count, clock, since } from "./format.js";
import { chart, line, area, dashed, fromZero, decades, stack } from "./chart.js";
import { store, on } from "./store.js";

const windows = [["30", "30 s"], ["60", "1 min"], ["300", "5 min"], ["600", "10 min"], ["1800", "30 min"]];

export function watchPart(root) {
  const chosen = choice("Window", "window", windows, "300", () => show());
  const auto = el("input", { type: "checkbox", id: "auto", checked: true, onchange: () => show() });
  const every = el("select", { id: "every", "aria-label": "Refresh every" }, [1, 2, 5, 10].map((s) => el("option", { value: String(s) }, `${s} s`)));
  const now = el("button", { type: "button", class: "plain", onclick: () => show() }, "Refresh now");
  const apis = el("div");
  root.append(
    el("div", { class: "bar" }, el("h1", {}, "Watch"), chosen.node,
      el("span", { class: "group" }, auto, el("label", { for: "auto" }, "Refresh every"), every, now)),
    apis);

  let panels = [];
  let shown = 0;

  function build() {
    for (const p of panels) p.destroy();
    panels = store.watch.map((w) => panel(w.number));
    fill(apis, panels.length > 0 ? panels.map((p) => p.node) : nothing());
    show();
  }

  function show() {
    shown = Date.now();
    if (!root.hidden) for (const p of panels) p.show(Number(chosen.value));
  }

  on("all", build);
  on("watch", () => {
    if (auto.checked && Date.now() - shown >= Number(every.value) * 1000 - 250) show();
  });
  return { show };
}

function nothing() {
  return el("div", { class: "hollow" }, el("h2", {}, "No API is watched"),
    el("p", {}, "Name one when you start this page, and its /metrics is shown here second by second:"),
    el("pre", {}, "weir live --api http://127.0.0.1:8000\nweir live --with-api"));
}

function panel(index) {
  const title = el("h2"), note = el("p", { class: "note", hidden: true, role: "status" });
  const tiles = {
    allowed: tile("Allowed"), blocked: tile("Blocked"), share: tile("Blocked share"), tokens: tile("Tokens left", "In the bucket of the last decision"),
    p50: tile("p50", "Latency of admitted requests: time to the limiter's decision"), p95: tile("p95"), p99: tile("p99"), max: tile("Max"), limit: tile("Limit", "Capacity of a bucket, and how fast it refills"),
  };
  const sync = "watch" + index;
  const rates = chart({
    name: "watch-rates", title: "Allowed and blocked", about: "per second, stacked", x: clock, y: rate, sync,
    series: [
      area("blocked", "throttled", { stairs: true, value: (u, v, s, i) => rate(u.data[1][i] - u.data[2][i]) }),
      area("allowed", "admitted", { stairs: true }), dashed("refill", "ink"),
    ],
    bands: [{ series: [1, 2] }], empty: "No request in this window.",
  });
  const tokens = chart({
    name: "watch-tokens", title: "Token balance", about: "after the last decision of each second", x: clock, y: number, sync,
    series: [line("tokens", "admitted", { shade: 0.14, spanGaps: true }), dashed("capacity", "ink")], empty: "No decision in this window.",
  });
  const latency = chart({
    name: "watch-latency", title: "Latency of admitted", about: "time to a decision, read from the API’s buckets", x: clock, y: duration, sync,
    series: [line("p50", "admitted"), line("p95", "admitted", { dash: [6, 3], width: 1.25 }), line("p99", "admitted", { dash: [3, 3], width: 1.25 }), line("max", "soft", { dash: [1, 3], width: 1 })],
    yScale: { distr: 3, range: decades }, empty: "No request was admitted in this window while weir looked.",
  });
  const node = el("article", { class: "api" }, title, note, el("dl", { class: "tiles" }, Object.values(tiles).map((t) => t.node)),
    el("div", { class: "charts" }, rates.node, tokens.node, latency.node));

  function show(seconds) {
    const w = store.watch[index];
    const { status } = w;
    say(title, status.url);
    node.classList.toggle("away", Boolean(status.error));
    note.hidden = !status.error && status.backend_up;
    if (status.error) {
      const seen = status.since ? `Last answer ${since(status.since * 1000)}, at ${clock(status.since)}.` : "It has not answered yet.";
      say(note, status.error === "not asked yet" ? "Asking this API for its /metrics…" : `This API cannot be read: ${status.error}. ${seen} weir keeps asking every second.`);
    } else if (!status.backend_up) say(note, "The API’s limiter is cut off from its backend: requests are answered by its policy.");
    tileValues(tiles, w, seconds);
    const ts = w.columns.ts || [];
    let from = ts.length;
    const oldest = ts.length > 0 ? Math.min(Date.now() / 1000, ts[ts.length - 1]) - seconds : 0;
    while (from > 0 && ts[from - 1] > oldest) from--;
    const column = (name) => w.columns[name].slice(from, -1); // the last second is not over
    const at = ts.slice(from, -1);
    const [allowed, both] = stack([column("allowed"), column("blocked")]);
    rates.set([at, both, allowed, at.map(() => (status.rate <= 4 * Math.max(...both, 1) ? status.rate : null))]);
    tokens.set([at, column("tokens"), at.map(() => status.capacity)]);
    const p50 = column("p50_ns");
    latency.set(p50.some((x) => x != null) ? [at, p50, column("p95_ns"), column("p99_ns"), column("max_ns")] : [[], [], [], [], []]);
  }

  return { node, show, destroy: () => [rates, tokens, latency].forEach((c) => c.destroy()) };
}

function tileValues(tiles, w, seconds) {
  const sum = w.windows.find((x) => x.seconds === seconds) || { allowed: 0, blocked: 0, count: 0 };
  const known = Math.max(1, Math.min(seconds, (w.columns.ts || []).length - 1));
  tiles.allowed.show(rate(sum.allowed / known), `${count(sum.allowed)} requests`);
  tiles.blocked.show(rate(sum.blocked / known), `${count(sum.blocked)} requests`);
  tiles.share.show(share(sum.blocked / (sum.allowed + sum.blocked)));
  const left = (w.columns.tokens || []).findLast((x) => x != null);
  tiles.tokens.show(left == null ? "–" : number(left), w.status.capacity ? `of ${count(w.status.capacity)}` : "");
  const told = sum.count > 0;
  tiles.p50.show(told ? duration(sum.p50_ns) : "–", "admitted");
  tiles.p95.show(told ? duration(sum.p95_ns) : "–", "admitted");
  tiles.p99.show(told ? duration(sum.p99_ns) : "–", "admitted");
  tiles.max.show(told ? "≤ " + duration(sum.max_ns) : "–", "admitted");
  tiles.limit.show(w.status.capacity ? rate(w.status.rate) : "–", w.status.capacity ? `capacity ${count(w.status.capacity)}` : "");
}
