"use strict";
// Draws the plots of a weir report from the JSON beside each plan.
(() => {
  const charts = [];
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const digits = (x) => {
    if (x === 0) return "0";
    if (Math.abs(x) >= 99.95) return Math.round(x).toLocaleString("en");
    return String(Number(x.toPrecision(3)));
  };
  const units = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
  const duration = (ns) => {
    if (ns == null) return "";
    if (ns === 0) return "0 s";
    const [size, unit] = units.find(([size]) => Math.abs(ns) >= size * 0.9995) || units[3];
    return digits(ns / size) + " " + unit;
  };
  const number = (x) => (x == null ? "" : digits(x));
  const rate = (x) => (x == null ? "" : digits(x) + "/s");
  const seconds = (x) => (x == null ? "" : Number(x.toFixed(2)) + " s");
  const span = (x) => (x == null ? "" : duration(x * 1e9));
  const percentile = (over) => (over == null ? "" : over >= 1e6 ? "99.9999%" : Number((100 - 100 / over).toPrecision(over < 100 ? 3 : 6)) + "%");
  const fade = (hex, alpha) => hex + Math.round(alpha * 255).toString(16).padStart(2, "0");
  const any = (column) => Boolean(column) && column.some((x) => x != null && x !== 0);
  const told = (column) => Boolean(column) && column.some((x) => x != null);
  const top = (column) => (column || []).reduce((most, x) => (x > most ? x : most), 0);

  // A staircase needs the end of its last step.
  const closed = (at, step) => at.concat([at[at.length - 1] + step]);
  const held = (column) => column.concat([column[column.length - 1]]);

  const line = (label, name, more) => ({ label, stroke: style(name), width: 1.75, points: { show: false }, ...more });
  const axes = (x, y, width) => {
    const common = { stroke: style("soft"), font: "12px system-ui, sans-serif", ticks: { show: false } };
    // On a log scale only powers of ten get a line.
    const round = (u, at) => at.map((v) => (u.scales.y.distr !== 3 || Number.isInteger(Number(Math.log10(v).toFixed(9))) ? v : null));
    const grid = { stroke: style("rule"), width: 1, filter: round };
    return [
      { ...common, grid: { show: false }, values: (u, at) => at.map((v) => (v == null ? "" : x(v))), space: 60, size: 30 },
      { ...common, grid, values: (u, at) => at.map((v) => (v == null ? "" : y(v))), size: width || 62, gap: 6, space: 34 },
    ];
  };

  // Each kind of plot returns uPlot's options and data, and a line of words below its title.
  const kinds = {
    outcomes(plan) {
      const s = plan.per_second;
      const raw = [s.admitted, s.throttled, s.failed];
      const stacked = raw.map((_, i) => s.at_s.map((_, t) => raw.slice(0, i + 1).reduce((sum, c) => sum + c[t], 0)));
      const highest = Math.max(top(stacked[2]), top(s.planned));
      const near = s.limit > 0 && s.limit <= 4 * highest;
      const real = (i) => (u, v, series, at) => (at == null ? "" : rate(held(raw[i])[at]));
      const stairs = uPlot.paths.stepped({ align: 1 });
      const area = (i, label, name) => line(label, name, { paths: stairs, fill: fade(style(name), 0.75), width: 1, value: real(i) });
      const series = [{ label: "", value: (u, v) => seconds(v) }, area(2, "failed", "failed"), area(1, "throttled", "throttled"),
        area(0, "admitted", "admitted"), line("planned", "soft", { paths: stairs, width: 1.25, dash: [2, 3], value: (u, v) => rate(v) })];
      const data = [closed(s.at_s, s.step_s), held(stacked[2]), held(stacked[1]), held(stacked[0]), held(s.planned)];
      if (near) {
        series.push(line("limit", "ink", { dash: [6, 4], width: 1.5, value: (u, v) => rate(v) }));
        data.push(data[0].map(() => s.limit));
      }
      return {
        data, series, axes: axes(seconds, rate),
        bands: [{ series: [1, 2] }, { series: [2, 3] }],
        scales: { y: { range: [0, Math.max(highest, near ? s.limit : 0, 1) * 1.08] } },
        aside: s.limit > 0 && !near ? `The limit of ${rate(s.limit)} is far above this plot.` : "",
      };
    },
    witness(plan) {
      const w = plan.witness;
      const from = [0].concat(w.at_s), first = w.allowed_so_far[0];
      return {
        data: [from, [0].concat(w.admitted_so_far), [first].concat(w.allowed_so_far)],
        series: [{ label: "", value: (u, v) => span(v) }, line("admitted", "failed", { paths: uPlot.paths.stepped({ align: 1 }), width: 2, value: (u, v) => number(v) }),
          line("allowed", "ink", { dash: [6, 4], width: 1.5, value: (u, v) => number(v) })],
        axes: axes(span, number),
        scales: { x: { time: false, range: [0, Math.max(w.seconds, 1e-6) * 1.02] }, y: { range: [0, w.admitted_tokens * 1.12] } },
        aside: `${w.key ? "Key " + w.key + ": " : ""}${number(w.admitted_tokens)} tokens admitted in ${span(w.seconds)} by the ${w.clock}’s clock; at most ${number(Math.floor(w.bound_tokens))} are allowed.`,
        hooks: { draw: [(u) => drawWitness(u, w)] },
      };
    },
    admitted: (plan) => cumulative(plan.admitted),
    sum: (plan) => cumulative(plan.sum),
    latency(plan) {
      const l = plan.latency;
      const data = [l.at_s], series = [{ label: "", value: (u, v) => seconds(v) }];
      for (const name of ["admitted", "throttled", "failed"]) {
        if (!told(l[name].p50_ns)) continue;
        const add = (label, column, more) => {
          series.push(line(`${name} ${label}`, name, { value: (u, v) => duration(v), spanGaps: false, ...dots(column), ...more }));
          data.push(column);
        };
        add("p50", l[name].p50_ns, {});
        add("p95", l[name].p95_ns, { width: 1, dash: [6, 3], show: false });
        add("p99", l[name].p99_ns, { width: 1.25, dash: [3, 3] });
        add("max", l[name].max_ns, { width: 1, dash: [1, 3], show: false });
      }
      return { data, series, axes: axes(seconds, duration), scales: { y: logarithmic(data.slice(1)) }, aside: "Click a name below to show or hide its line." };
    },
    shares(plan) {
      const s = plan.shares;
      const data = [s.over], series = [{ label: "", value: (u, v) => percentile(v) }];
      for (const name of ["admitted", "throttled", "failed"]) {
        if (!told(s[name + "_ns"])) continue;
        series.push(line(name, name, { value: (u, v) => duration(v) }));
        data.push(s[name + "_ns"]);
      }
      const last = Math.max(10, s.over[s.over.length - 1]);
      const powers = [];
      for (let at = 1; at <= last; at *= 10) powers.push(at);
      const both = axes(percentile, duration);
      both[0].splits = () => powers;
      both[0].filter = (u, at) => at;
      return { data, series, axes: both, scales: { x: { distr: 3, time: false, range: [1, last] }, y: logarithmic(data.slice(1)) } };
    },
    lag(plan) {
      const l = plan.latency, lag = l.send_lag;
      const show = { value: (u, v) => duration(v) };
      return {
        data: [l.at_s, lag.p50_ns, lag.p99_ns, lag.max_ns],
        series: [{ label: "", value: (u, v) => seconds(v) }, line("p50", "ink", { ...show, ...dots(lag.p50_ns) }),
          line("p99", "soft", { ...show, dash: [6, 3] }), line("max", "soft", { ...show, dash: [1, 3] })],
        axes: axes(seconds, duration), scales: { y: { range: (u, low, high) => [0, Math.max(high * 1.1, 1e3)] } },
      };
    },
    remaining(plan) {
      const c = plan.admitted;
      return {
        data: [c.at_s, c.remaining_tokens],
        series: [{ label: "", value: (u, v) => seconds(v) }, line("remaining", "admitted", { width: 1.25, value: (u, v) => number(v), spanGaps: true })],
        axes: axes(seconds, number), scales: { y: { range: (u, low, high) => [0, Math.max(high * 1.1, 1)] } },
      };
    },
  };

  // A tick for each admitted request, and a bracket over what is too much.
  function drawWitness(u, w) {
    const c = u.ctx, dpr = devicePixelRatio || 1, floor = u.bbox.top + u.bbox.height;
    c.save();
    c.setLineDash([]);
    c.strokeStyle = style("admitted");
    c.lineWidth = dpr;
    c.beginPath();
    for (const at of w.at_s) {
      const x = Math.round(u.valToPos(at, "x", true)) + 0.5;
      c.moveTo(x, floor);
      c.lineTo(x, floor - 9 * dpr);
    }
    c.stroke();
    const x = u.valToPos(w.seconds, "x", true), high = u.valToPos(w.admitted_tokens, "y", true), low = u.valToPos(w.bound_tokens, "y", true);
    c.strokeStyle = c.fillStyle = style("failed");
    c.lineWidth = 3 * dpr;
    c.beginPath();
    c.moveTo(x, high);
    c.lineTo(x, low);
    c.stroke();
    c.font = `600 ${13 * dpr}px system-ui, sans-serif`;
    c.textAlign = "right";
    c.textBaseline = "bottom";
    c.fillText(`${number(Math.ceil(w.excess_tokens))} too many`, x - 6 * dpr, high - 4 * dpr);
    c.restore();
  }

  function cumulative(c) {
    if (!c) return null;
    const total = top(c.admitted_tokens), bound = top(c.allowed_tokens), near = bound > 0 && bound <= 8 * total;
    const at = [0].concat(c.at_s), data = [at, [0].concat(c.admitted_tokens)];
    const series = [{ label: "", value: (u, v) => seconds(v) }, line("admitted", "admitted", { fill: fade(style("admitted"), 0.12), value: (u, v) => number(v) })];
    if (near) {
      data.push([null].concat(c.allowed_tokens.map((x) => (x === 0 ? null : x))));
      series.push(line("allowed", "ink", { dash: [6, 4], width: 1.5, value: (u, v) => number(v) }));
    }
    let aside = "";
    if (c.key) aside = `Key ${c.key}. `;
    if (!bound) aside += "No bound is drawn: no limit was promised, or there were too many keys to follow.";
    else if (!near) aside += `The bound ends at ${number(bound)} tokens, far above this plot.`;
    return { data, series, axes: axes(seconds, number), scales: { y: { range: [0, Math.max(total, near ? bound : 0, 1) * 1.08] } }, aside };
  }

  // A lone point between gaps would be invisible as a line, so it gets a dot.
  function dots(column) {
    const lone = column.map((x, i) => (x != null && column[i - 1] == null && column[i + 1] == null ? i : -1)).filter((i) => i >= 0);
    return lone.length > 0 ? { points: { show: true, size: 4, width: 0, filter: () => lone } } : {};
  }

  function logarithmic(columns) {
    let low = Infinity, high = 0;
    for (const x of columns.flat()) {
      if (x == null) continue;
      if (x > 0 && x < low) low = x;
      if (x > high) high = x;
    }
    if (high === 0) return { distr: 3, range: [1e3, 1e6] };
    return { distr: 3, range: [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high * 1.05))] };
  }

  function draw(figure, plan) {
    const box = figure.querySelector("div");
    if (!box) return;
    const spec = kinds[figure.dataset.chart](plan);
    if (!spec || spec.data.length < 2 || !spec.data[0] || spec.data[0].length === 0) {
      box.className = "empty";
      box.textContent = "Nothing was recorded that this plot could show.";
      return;
    }
    if (spec.aside) {
      const aside = figure.querySelector(".aside") || figure.insertBefore(document.createElement("p"), box);
      aside.className = "aside";
      aside.textContent = spec.aside;
    }
    const end = plan.per_second.at_s.length * plan.per_second.step_s;
    const plot = new uPlot({
      width: box.clientWidth, height: 230, padding: [10, 18, 0, 0],
      series: spec.series, axes: spec.axes, bands: spec.bands || [],
      hooks: spec.hooks || {},
      scales: { x: { time: false, range: (u, low, high) => [0, Math.max(end, high)] }, ...spec.scales },
      cursor: { points: { size: 6 }, y: false, drag: { x: false, y: false } },
      legend: { markers: { width: 2, fill: (u, i) => (u.series[i].dash ? null : color(u, i)), stroke: color, dash: (u, i) => (u.series[i].dash ? "dashed" : "solid") } },
    }, spec.data, box);
    charts.push({ plot, box });
  }

  function color(u, i) {
    const stroke = u.series[i].stroke;
    return typeof stroke === "function" ? stroke(u, i) : stroke;
  }

  function drawAll() {
    for (const { plot } of charts.splice(0)) plot.destroy();
    for (const section of document.querySelectorAll("section[data-plan]")) {
      const source = section.querySelector("script[type='application/json']");
      if (!source) continue;
      const plan = JSON.parse(source.textContent);
      for (const figure of section.querySelectorAll("figure[data-chart]")) {
        try {
          draw(figure, plan);
        } catch (error) { // one plot that fails must not take the others along
          console.error(figure.dataset.chart, error);
          figure.append("This plot could not be drawn: " + error.message);
        }
      }
    }
  }

  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      for (const { plot, box } of charts) if (box.clientWidth !== plot.width) plot.setSize({ width: box.clientWidth, height: 230 });
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  drawAll();
})();
