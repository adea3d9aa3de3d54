// Makes elements. Text only ever becomes text: nothing here reads HTML, so
// nothing that a target answered can become part of the page.

// el("button", { class: "go", onclick: f, disabled: true }, "Start")
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  set(node, attributes);
  node.append(...children.flat(Infinity).filter((c) => c != null));
  return node;
}

export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else if (name === "class") node.className = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value === false || value == null) node.removeAttribute(name);
    else node.setAttribute(name, value);
  }
}

export function fill(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((c) => c != null));
}

// say changes a text only where it differs: a screen reader hears no repeats, and
// a selection survives.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// choice is a row of buttons of which one is pressed. It remembers what was chosen.
export function choice(label, name, options, fallback, changed) {
  const stored = localStorage.getItem("weir-" + name);
  let chosen = options.some(([value]) => value === stored) ? stored : fallback;
  const group = el("div", { class: "choice", role: "group", "aria-label": label });
  const buttons = options.map(([value, text, title]) => el("button", { type: "button", title, "aria-pressed": String(value === chosen), onclick: () => pick(value) }, text));
  function pick(value) {
    chosen = value;
    localStorage.setItem("weir-" + name, value);
    buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(options[i][0] === value)));
    changed(value);
  }
  group.append(...buttons);
  return { node: group, get value() { return chosen; }, pick };
}

export function tile(name, title) {
  const value = el("dd", {}, "–"), aside = el("dd", { class: "aside" });
  const node = el("div", { class: "tile", title }, el("dt", {}, name), value, aside);
  return { node, show(text, more = "") { say(value, text); say(aside, more); } };
}

export function chip(verdict) {
  return el("span", { class: "chip " + verdict.replaceAll(" ", "-") }, verdict);
}
