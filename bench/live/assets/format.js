// Numbers for people, as in weir's reports: three significant digits, a unit on
// each, thousands apart.

export function number(x) {
  if (x == null || Number.isNaN(x)) return "–";
  if (x === 0) return "0";
  if (Math.abs(x) >= 99.95) return Math.round(x).toLocaleString("en");
  return String(Number(x.toPrecision(3)));
}

const units = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];

// duration writes nanoseconds: "182 µs", "1.23 ms", "12.3 s".
export function duration(ns) {
  if (ns == null || Number.isNaN(ns)) return "–";
  if (ns === 0) return "0 s";
  const [size, unit] = units.find(([size]) => Math.abs(ns) >= size * 0.9995) || units[3];
  return number(ns / size) + " " + unit;
}

// span writes seconds: "4.2 s", "1 min 30 s", "2 h 5 min".
export function span(seconds) {
  if (seconds == null) return "–";
  if (seconds < 60) return number(Math.round(seconds * 10) / 10) + " s";
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h} h${m ? ` ${m} min` : ""}` : `${m} min${s ? ` ${s} s` : ""}`;
}

export const rate = (x) => (x == null || Number.isNaN(x) ? "–" : number(x) + "/s");
export const count = (n) => (n == null ? "–" : Math.round(n).toLocaleString("en"));
export const bytes = (n) => (n == null ? "–" : n < 1000 ? number(n) + " B" : n < 1e6 ? number(n / 1e3) + " kB" : number(n / 1e6) + " MB");
export const share = (x) => (Number.isFinite(x) ? number(100 * x) + "%" : "–");
export const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString([], { hour12: false });

// since writes how long ago an instant was.
export function since(time) {
  const seconds = Math.max(0, (Date.now() - new Date(time)) / 1000);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(time).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
}
