"""The script of a report, JavaScript: draws the charts, shows values, hides and scales curves.

Whatever comes from a run is put into the page as text or as a number, never as markup.
"""

from __future__ import annotations

SCRIPT = r"""
"use strict";
(() => {
const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "6 3", "2 3"];
const data = JSON.parse(document.getElementById("data").textContent);
const state = { x: "t", log: false, hidden: new Set() };
const boxes = [...document.querySelectorAll("[data-chart]")];

function add(parent, name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  parent.appendChild(node);
  return node;
}

function amount(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return +(value / 1e6).toPrecision(4) + "M";
  if (size >= 1e4) return +(value / 1e3).toPrecision(4) + "k";
  if (size && size < 1e-3) return value.toExponential(1);
  return String(+value.toPrecision(4));
}

function duration(hours) {
  if (hours >= 1) return +hours.toFixed(2) + " h";
  return hours >= 1 / 60 ? +(hours * 60).toFixed(1) + " min" : +(hours * 3600).toFixed(1) + " s";
}

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((k) => k >= raw);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-9) + step * 1e-9; k++)
    found.push(k * step);
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let k = Math.floor(low); k <= high; k++)
    for (const m of high - low > 3 ? [1] : [1, 2, 5]) {
      const value = k + Math.log10(m);
      if (value >= low && value <= high) found.push(value);
    }
  return found;
}

function visible(chart) {
  return chart.series.filter((s) => !state.hidden.has(s.run) && s[state.x]).map((s) => {
    const keep = s.v.map((v, k) => k).filter((k) => !state.log || s.v[k] > 0);
    return { ...s, px: keep.map((k) => s[state.x][k]),
             py: keep.map((k) => (state.log ? Math.log10(s.v[k]) : s.v[k])) };
  }).filter((s) => s.px.length);
}

function bounds(series) {
  let low = Infinity, high = -Infinity, end = 0;
  for (const s of series) {
    for (const v of s.py) { low = Math.min(low, v); high = Math.max(high, v); }
    end = Math.max(end, s.px[s.px.length - 1]);
  }
  const margin = 0.06 * (high - low) || Math.abs(high) * 0.1 || 1;
  return { low: low - margin, high: high + margin, end: end || 1 };
}

function draw(box) {
  const width = box.clientWidth, height = box.clientHeight;
  if (!width) return;
  box.querySelector("svg")?.remove();
  const chart = data.charts[box.dataset.chart];
  const svg = add(box, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
                                "aria-label": chart.label });
  const series = visible(chart);
  box.points = [];
  if (!series.length) {
    const words = add(svg, "text", { x: width / 2, y: height / 2, "text-anchor": "middle" });
    words.textContent = state.log ? "nothing above 0" : "nothing to show";
    return;
  }
  const { low, high, end } = bounds(series);
  const left = 52, right = 10, top = 8, bottom = 20;
  const toX = (v) => left + (v / end) * (width - left - right);
  const toY = (v) => height - bottom - ((v - low) / (high - low)) * (height - top - bottom);
  const marks = state.log ? logTicks(low, high) : ticks(low, high, height > 250 ? 6 : 4);
  for (const v of marks) {
    const y = toY(v);
    add(svg, "line", { x1: left, x2: width - right, y1: y, y2: y, class: "grid" });
    add(svg, "text", { x: left - 6, y: y + 4, "text-anchor": "end" }).textContent =
      amount(state.log ? 10 ** v : v);
  }
  const unit = state.x === "t" || end >= 1 ? 1 : end >= 1 / 60 ? 60 : 3600;
  const names = { 1: "h", 60: "min", 3600: "s" };
  for (const v of ticks(0, end * unit, Math.max(2, Math.floor(width / 75)))) {
    add(svg, "text", { x: toX(v / unit), y: height - 5, "text-anchor": v ? "middle" : "start" })
      .textContent = state.x === "t" ? amount(v) : amount(v) + " " + names[unit];
  }
  add(svg, "line", { x1: left, x2: width - right, y1: height - bottom, y2: height - bottom,
                     class: "axis" });
  for (const s of series) {
    const color = s.run < 0 ? "published" : "c" + (s.run % 8);
    const at = s.px.map((v, k) => [toX(v), toY(s.py[k])]);
    if (at.length === 1) add(svg, "circle", { cx: at[0][0], cy: at[0][1], r: 3, class: color });
    add(svg, "path", { class: color, "stroke-dasharray": DASHES[s.kind], d: "M" + at.map((p) =>
      p[0].toFixed(1) + " " + p[1].toFixed(1)).join("L") });
    box.points.push({ ...s, at });
  }
  box.cursor = add(svg, "line", { y1: top, y2: height - bottom, class: "cursor",
                                  visibility: "hidden" });
}

function nearest(at, x) {
  let low = 0, high = at.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (at[middle][0] < x) low = middle; else high = middle;
  }
  return x - at[low][0] < at[high][0] - x ? low : high;
}

function show(box, event) {
  const x = event.clientX - box.getBoundingClientRect().left, tip = box.querySelector(".tip");
  if (!box.points?.length) return;
  let place = null;
  const lines = [];
  for (const s of box.points) {
    const k = nearest(s.at, x);
    if (!place || Math.abs(s.at[k][0] - x) < Math.abs(place.x - x))
      place = { x: s.at[k][0], value: s.px[k] };
    const name = s.run < 0 ? s.name : [data.runs.length > 1 ? data.runs[s.run] : "", s.name]
      .filter(Boolean).join(", ");
    const value = amount(state.log ? 10 ** s.py[k] : s.py[k]);
    lines.push(name ? name + ": " + value : value);
  }
  const where = state.x === "t" ? place.value.toLocaleString("en") + " timesteps"
                                : duration(place.value);
  tip.replaceChildren(...[where, ...lines].map((text) => {
    const line = document.createElement("div");
    line.textContent = text;
    return line;
  }));
  tip.hidden = false;
  const half = box.clientWidth / 2;
  tip.style.left = place.x < half ? place.x + 12 + "px" : "auto";
  tip.style.right = place.x < half ? "auto" : box.clientWidth - place.x + 12 + "px";
  box.cursor.setAttribute("x1", place.x);
  box.cursor.setAttribute("x2", place.x);
  box.cursor.setAttribute("visibility", "visible");
}

function hide(box) {
  box.querySelector(".tip").hidden = true;
  box.cursor?.setAttribute("visibility", "hidden");
}

function press(button, pressed) { button.setAttribute("aria-pressed", String(pressed)); }

for (const button of document.querySelectorAll("button.choice")) {
  button.addEventListener("click", () => {
    const [key, value] = [button.dataset.key, button.dataset.value];
    state[key] = key === "log" ? value === "log" : value;
    for (const other of document.querySelectorAll(`button.choice[data-key=${key}]`))
      press(other, other === button);
    boxes.forEach(draw);
  });
}
for (const button of document.querySelectorAll("button[data-run]")) {
  button.addEventListener("click", () => {
    const run = Number(button.dataset.run);
    if (!state.hidden.delete(run)) state.hidden.add(run);
    press(button, !state.hidden.has(run));
    boxes.forEach(draw);
  });
}
const observer = new ResizeObserver((entries) => entries.forEach((e) => draw(e.target)));
for (const box of boxes) {
  for (const kind of ["pointermove", "pointerdown"])
    box.addEventListener(kind, (event) => show(box, event));
  box.addEventListener("pointerleave", () => hide(box));
  observer.observe(box);
}
})();
"""
