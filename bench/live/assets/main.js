// The page: which part is shown, its theme, its connection.
import { say } from "./dom.js";
import { recolor } from "./chart.js";
import { store, on, connect } from "./store.js";
import { watchPart } from "./watch.js";
import { attackPart } from "./attack.js";
import { runsPart } from "./runs.js";

const byId = (id) => document.getElementById(id);
const parts = { watch: watchPart(byId("watch")), attack: attackPart(byId("attack")), runs: runsPart(byId("runs")) };
let ready = false;

function route() {
  const wanted = location.hash.slice(1).split("/")[0];
  const shown = wanted === "compare" ? "runs" : wanted in parts ? wanted : "attack";
  for (const name of Object.keys(parts)) byId(name).hidden = !ready || name !== shown;
  for (const link of document.querySelectorAll("[data-tab]")) {
    if (link.dataset.tab === shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (ready) parts[shown].show();
}

const themes = ["auto", "light", "dark"];

function theme(name) {
  localStorage.setItem("weir-theme", name);
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  say(byId("theme"), { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[name]);
  recolor();
}

const current = () => (themes.includes(localStorage.getItem("weir-theme")) ? localStorage.getItem("weir-theme") : "auto");
const turn = () => theme(themes[(themes.indexOf(current()) + 1) % themes.length]);
byId("theme").addEventListener("click", turn);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
theme(current());

addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName) && document.activeElement.type !== "checkbox";
  if (typing) {
    if (e.key === "Escape") document.activeElement.blur();
    return;
  }
  if (e.key === "t") turn();
  const part = { 1: "watch", 2: "attack", 3: "runs" }[e.key];
  if (part) location.hash = "#" + part;
});

on("all", () => {
  if (ready) return;
  ready = true;
  byId("loading").hidden = true;
  route();
});

on("link", (why) => {
  const link = byId("link"), problem = byId("problem");
  const text = { live: "live", lost: "connection lost", refused: "refused", loading: "" };
  link.className = "link " + store.link;
  say(link, text[store.link]);
  problem.hidden = store.link === "live";
  if (store.link === "lost") say(problem, "The connection to weir is lost. This page keeps trying; what it shows is as of then.");
  if (store.link === "refused") say(problem, `weir refuses this page: ${why}.`);
  if (!ready) byId("loading").hidden = store.link !== "loading";
});

addEventListener("hashchange", route);
route();
connect();
