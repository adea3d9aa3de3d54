"use strict";
// Draws what was admitted against the fitted envelope.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const box = document.getElementById("admits");
  if (!data || data.at_s.length === 0) {
    box.className = "empty";
    box.textContent = "Nothing was answered that this plot could show.";
    return;
  }
  const style = (name) => () => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const stepped = uPlot.paths.stepped({ align: 1 });
  const axis = (more) => ({ stroke: style("soft"), grid: { stroke: style("rule"), width: 1 }, ticks: { stroke: style("rule") }, ...more });
  const ticks = (u) => {
    const c = u.ctx, floor = u.bbox.top + u.bbox.height;
    c.save();
    c.strokeStyle = style("throttled")();
    c.beginPath();
    for (const at of data.throttled_s) {
      const x = Math.round(u.valToPos(at, "x", true)) + 0.5;
      c.moveTo(x, floor);
      c.lineTo(x, floor - 8 * devicePixelRatio);
    }
    c.stroke();
    c.restore();
  };
  const series = [{ label: "", value: (u, v) => (v == null ? "" : v.toFixed(3) + " s") },
    { label: "admitted", stroke: style("admitted"), width: 2, paths: stepped, points: { show: false } }];
  const columns = [data.at_s, data.admitted];
  if (data.envelope) {
    series.push({ label: "most the limit allows", stroke: style("ink"), width: 1.5, dash: [6, 4], points: { show: false } });
    columns.push(data.envelope);
  }
  const plot = new uPlot({
    width: box.clientWidth, height: 320, padding: [10, 18, 0, 0], series, scales: { x: { time: false } },
    axes: [axis({ values: (u, at) => at.map((x) => x + " s") }), axis({})], hooks: { draw: [ticks] }, cursor: { y: false },
  }, columns, box);
  addEventListener("resize", () => plot.setSize({ width: box.clientWidth, height: 320 }));
})();
