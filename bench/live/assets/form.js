// The form that starts an attack.
import { el, fill, say, set, choice } from "./dom.js";
import { number, span, plural } from "./format.js";
import { store, command } from "./store.js";

export function startForm() {
  const errors = el("p", { class: "error", role: "alert", hidden: true });
  const field = {};
  const labelled = (name, label, input, hint = "") => {
    field[name] = input;
    input.id = "f-" + name;
    const about = el("small", { id: "h-" + name }, hint);
    input.setAttribute("aria-describedby", about.id);
    return el("div", { class: "field f-" + name }, el("label", { for: input.id }, label), input, about);
  };
  const text = (more = {}) => el("input", { type: "text", autocomplete: "off", spellcheck: "false", ...more });

  const scenario = labelled("scenario", "Scenario", el("select", { onchange: pick }), "Fills in the load. The k6 ones are carried out by k6.");
  const targets = labelled("targets", "Target", el("textarea", { rows: "1", spellcheck: "false", placeholder: "http://127.0.0.1:8000/items" }), "One URL a line; several are taken in turn.");
  const method = labelled("method", "Method", el("select", {}, ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].map((m) => el("option", {}, m))));
  const kinds = choice("Kind of load", "kind", [["rate", "Rate"], ["users", "Users"], ["shape", "Shape"]], "rate", kind);
  const rate = labelled("rate", "Rate", text({ inputmode: "decimal" }), "Requests a second, whatever the target does: 50, 50/s, 300/m.");
  const users = labelled("users", "Users", text({ inputmode: "numeric" }), "Each sends its next request when it has the answer.");
  const shape = labelled("shape", "Shape", text({ list: "shapes" }));
  const shapes = el("datalist", { id: "shapes" });
  const ramp = labelled("ramp", "Ramp", text({ placeholder: "at once" }), "Time to get there: 10s, 1m.");
  const time = labelled("duration", "Duration", text(), "30s, 5m, 1h.");
  const keys = labelled("keys", "Keys", text({ inputmode: "numeric" }), "Clients to play; 0 sends no key.");
  const spread = labelled("spread", "Spread over keys", el("select", {}, [["uniform", "uniform"], ["turn", "in turn"], ["zipf", "zipf: a few busy ones"]].map(([v, t]) => el("option", { value: v }, t))));
  const via = labelled("via", "Key sent as", text({ placeholder: "header:X-API-Key" }), "header:NAME, query:NAME or source.");
  const limit = labelled("limit", "Limit promised", text({ placeholder: "none" }), "To each key, for the judge: 5/s,capacity=20.");
  const headers = labelled("headers", "Headers", el("textarea", { rows: "2", spellcheck: "false", placeholder: "Authorization: Bearer …" }), "One a line, Name: value.");
  const body = labelled("body", "Body", el("textarea", { rows: "2", spellcheck: "false" }), "Sent with every request.");
  const name = labelled("name", "Name", text(), "Of the run’s folder: small letters, digits, dashes.");
  const fresh = el("input", { type: "checkbox", id: "f-fresh" });
  const go = el("button", { type: "submit", class: "go" }, "Start attack");
  const aside = el("p", { class: "small" });
  const load = el("div", { class: "load" }, el("div", { class: "kinds" }, el("span", { class: "legend" }, "Load"), kinds.node), rate, users, shape, shapes, ramp, time);

  const form = el("form", { class: "start", novalidate: true, onsubmit: start, oninput: preview },
    el("div", { class: "bar" }, el("h1", {}, "Start an attack")),
    el("div", { class: "grid" }, scenario, targets, method, load, keys, limit),
    el("details", {}, el("summary", {}, "More ", el("span", {}, "spread of keys, headers, body, name")),
      el("div", { class: "grid" }, spread, via, name, headers, body,
        el("div", { class: "field check" }, fresh, el("label", { for: "f-fresh" }, "Every bucket is full at the start"), el("small", {}, "Tick it only when nobody has used these keys for a while.")))),
    errors, el("div", { class: "bar" }, go, aside));

  function kind(value) {
    rate.hidden = value !== "rate";
    users.hidden = value !== "users";
    shape.hidden = value !== "shape";
    ramp.hidden = value === "shape";
    preview();
  }

  // chosen is the k6 scenario that was picked, "" for weir's own load.
  const chosen = () => store.snapshot?.scenarios[field.scenario.value]?.form.scenario || "";

  function pick() {
    const found = store.snapshot.scenarios[field.scenario.value];
    if (found) {
      put({ ...values(), ...Object.fromEntries(Object.entries(found.form).filter(([, v]) => v && (!Array.isArray(v) || v.length > 0))) });
      say(field.scenario.nextElementSibling, found.question || "");
    }
    const k6 = chosen() !== "";
    for (const f of [load, keys]) for (const input of f.querySelectorAll("input, button, select")) input.disabled = k6 && input.id !== "f-duration";
    preview();
  }

  function shapeText() {
    const value = { rate: field.rate, users: field.users, shape: field.shape }[kinds.value].value.trim();
    if (kinds.value === "rate") return "constant:" + (value.includes("/") ? value : value + "/s");
    return kinds.value === "users" ? "users:" + value : value;
  }

  function values() {
    const lines = (input) => input.value.split("\n").map((s) => s.trim()).filter(Boolean);
    return {
      name: field.name.value.trim(), targets: lines(field.targets), method: field.method.value, headers: lines(field.headers), body: field.body.value,
      shape: shapeText(), ramp: kinds.value === "shape" || chosen() ? "" : field.ramp.value.trim(), duration: field.duration.value.trim(),
      keys: Number(field.keys.value) || 0, spread: field.spread.value, via: field.via.value.trim(), limit: field.limit.value.trim(),
      fresh: fresh.checked, scenario: chosen(),
    };
  }

  function put(f) {
    for (const key of ["name", "method", "body", "ramp", "duration", "via", "limit"]) field[key].value = f[key] || "";
    field.method.value = f.method || "GET";
    field.targets.value = (f.targets || []).join("\n");
    field.headers.value = (f.headers || []).join("\n");
    field.keys.value = String(f.keys || 0);
    field.spread.value = f.spread || "uniform";
    fresh.checked = Boolean(f.fresh);
    const [first, rest] = (f.shape || "constant:50/s").split(/:(.*)/s);
    if (first === "constant") { field.rate.value = rest; kinds.pick("rate"); } else if (first === "users") { field.users.value = rest; kinds.pick("users"); } else { field.shape.value = f.shape; kinds.pick("shape"); }
    field.targets.rows = Math.max(1, (f.targets || []).length);
    preview();
  }

  function preview() {
    const c = store.snapshot?.ceilings;
    if (c) say(aside, `Ceilings of this page: ${number(c.rate)} requests a second, ${plural(c.users, "user")}, ${span(c.duration_s)}.`);
    errors.hidden = true;
    for (const input of Object.values(field)) input.removeAttribute("aria-invalid");
  }

  async function start(event) {
    event.preventDefault();
    set(go, { disabled: true });
    try {
      await command("/api/attack/start", values());
    } catch (e) {
      say(errors, e.message);
      errors.hidden = false;
      const wrong = e.field === "shape" ? field[kinds.value] : field[e.field];
      if (wrong) {
        wrong.closest("details")?.setAttribute("open", "");
        wrong.setAttribute("aria-invalid", "true");
        wrong.focus();
      }
    } finally {
      set(go, { disabled: false });
    }
  }

  function reset() {
    const { scenarios, state, shapes: examples } = store.snapshot;
    fill(field.scenario, el("option", { value: "" }, "my own"), scenarios.map((s, i) => el("option", { value: String(i) }, s.name)));
    fill(shapes, examples.split(/, (?=[a-z])| or /).map((s) => el("option", { value: s.replace(/\[.*\]/, "") })));
    say(field.shape.nextElementSibling, "Such as " + examples.replace(/^constant[^,]*, /, "") + ".");
    if (document.activeElement?.form !== form) put(state.form);
    field.scenario.value = "";
    pick();
  }

  return { node: form, reset };
}
