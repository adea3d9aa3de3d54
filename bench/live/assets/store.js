// What weir knows, kept up to date: one snapshot, then events.
//
// A browser that lost its connection goes on where it was, by Last-Event-ID; one
// that was away too long is told to "resync", and asks for a snapshot again. The
// rings here have the same bounds as weir's: memory does not grow.

export const store = { state: null, rings: [], tables: null, verdict: null, watch: [], snapshot: null, link: "loading" };

const listeners = new Map();

// on has f called when one of the named things changed: "all", "state", "tick",
// "tables", "verdict", "watch", "runs", "link".
export function on(names, f) {
  for (const name of names.split(" ")) listeners.set(name, [...(listeners.get(name) || []), f]);
}

function tell(name, detail) {
  for (const f of listeners.get(name) || []) f(detail);
}

let source = null;
let retry = 0;

export async function connect() {
  clearTimeout(retry);
  source?.close();
  try {
    const answer = await fetch("/api/snapshot");
    if (!answer.ok) {
      const { error } = await answer.json();
      if (answer.status === 401 || answer.status === 403) return setLink("refused", error);
      throw new Error(error);
    }
    take(await answer.json());
  } catch {
    setLink("lost");
    retry = setTimeout(connect, 2000);
    return;
  }
  source = new EventSource("/api/events?after=" + encodeURIComponent(store.snapshot.event));
  source.onopen = () => setLink("live");
  source.onerror = () => {
    setLink("lost");
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(connect, 2000);
  };
  const listen = (name, f) => source.addEventListener(name, (e) => f(JSON.parse(e.data)));
  listen("start", connect); // another attack: everything is new
  listen("resync", connect);
  listen("state", (state) => { store.state = state; tell("state"); });
  listen("tick", tick);
  listen("tables", (tables) => { store.tables = tables; tell("tables"); });
  listen("verdict", (verdict) => { store.verdict = verdict; tell("verdict"); });
  listen("watch", watched);
  listen("runs", () => tell("runs"));
}

function setLink(link, why = "") {
  store.link = link;
  tell("link", why);
}

function take(snapshot) {
  store.snapshot = snapshot;
  store.state = snapshot.state;
  store.rings = snapshot.rings || [];
  store.tables = snapshot.tables;
  store.verdict = snapshot.verdict;
  store.watch = snapshot.watch;
  tell("all");
}

function tick({ rows, elapsed, counts }) {
  store.state.elapsed = elapsed;
  store.state.counts = counts;
  rows.forEach((fresh, i) => {
    const ring = store.rings[i];
    if (!ring || !fresh) return;
    for (const row of fresh) push(ring.columns, Object.keys(names).map((name) => row[names[name]]), Object.keys(names));
    trim(ring.columns, ring.most_rows);
  });
  tell("tick");
}

// The order of a row's numbers; history.go has the same.
const names = Object.fromEntries([
  "at_s", "offered", "users", "admitted", "throttled", "failed", "admitted_p50_ns", "admitted_p95_ns", "admitted_p99_ns", "admitted_max_ns",
  "throttled_p50_ns", "throttled_p99_ns", "failed_p50_ns", "failed_p99_ns", "lag_p50_ns", "lag_p99_ns", "lag_max_ns",
].map((name, i) => [name, i]));

function push(columns, values, keys) {
  keys.forEach((name, i) => columns[name].push(values[i]));
}

// trim takes the oldest away, some at a time.
function trim(columns, most) {
  const first = Object.values(columns)[0];
  const extra = first.length - most;
  if (extra > most / 10) for (const column of Object.values(columns)) column.splice(0, extra);
}

// watched adds seconds that are new, and replaces those that have changed since.
function watched(update) {
  const known = store.watch[update.number];
  if (!known) return;
  known.status = update.status;
  known.windows = update.windows;
  const keys = Object.keys(known.columns);
  (update.columns.ts || []).forEach((ts, i) => {
    const at = keys.length && known.columns.ts ? known.columns.ts.lastIndexOf(ts) : -1;
    for (const name of keys) {
      known.columns[name] ||= [];
      if (at < 0) known.columns[name].push(update.columns[name][i]);
      else known.columns[name][at] = update.columns[name][i];
    }
  });
  if (known.columns.ts) trim(known.columns, 3600);
  tell("watch", update.number);
}

// recent is the part of the history that a window of seconds shows: a ring of
// the step that suits it. 0 is the whole run.
export function recent(seconds) {
  const [fine, second, ten] = store.rings;
  if (!fine) return null;
  const span = seconds || store.state.elapsed;
  const ring = span <= 60 && fine.columns.at_s.length > 0 ? fine : span <= 3600 && second.columns.at_s.length > 0 ? second : span > 3600 ? ten : fine;
  const rows = Math.ceil(span / ring.step_s);
  const from = seconds ? Math.max(0, ring.columns.at_s.length - rows) : 0;
  return { step: ring.step_s, column: (name) => ring.columns[name].slice(from) };
}

// command asks weir to do something. It throws what is wrong, with the field.
export async function command(path, body = {}) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw Object.assign(new Error("weir does not answer. Is it still running?"), { field: "" });
  }
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.error), { field: said.field });
}

export async function ask(path) {
  const answer = await fetch(path);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
}
