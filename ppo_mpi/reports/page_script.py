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
const state = { x: "t", log: false, view: data.view, hidden: new Set() };
const boxes = [...document.querySelectorAll("[data-chart]")];
// Colors count among the entries of one view.
data.entries.forEach((entry, k) => {
  entry.color = data.entries.slice(0, k).filter((e) => e.view === entry.view).length % 8;
});

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

function hoursAt(entry, timesteps) {
  const { t, h } = entry;
  let k = 1;
  return timesteps.map((v) => {
    while (k < t.length - 1 && t[k] < v) k++;
    if (t.length < 2) return h[0];
    return h[k - 1] + ((v - t[k - 1]) / (t[k] - t[k - 1])) * (h[k] - h[k - 1]);
  });
}

function isShown(k) { return data.entries[k].view === state.view && !state.hidden.has(k); }

function visible(chart) {
  return chart.series.filter((s) => (s.entry < 0 ? state.x === "t" : isShown(s.entry))).map((s) => {
    const keep = s.v.map((v, k) => k).filter((k) => !state.log || s.v[k] > 0);
    const places = state.x === "t" ? s.t : hoursAt(data.entries[s.entry], s.t);
    const of = (values) => values && keep.map((k) => height(values[k]));
    return { ...s, px: keep.map((k) => places[k]), py: of(s.v), low: of(s.lo), high: of(s.hi) };
  }).filter((s) => s.px.length && Number.isFinite(s.px[0]));
}

function height(value) {
  return !state.log ? value : value > 0 ? Math.log10(value) : -Infinity;
}

// All curves, and of bands what does not flatten them: half as much above and below.
function bounds(series) {
  let low = Infinity, high = -Infinity, end = 0;
  for (const s of series) {
    for (const v of s.py) { low = Math.min(low, v); high = Math.max(high, v); }
    if (s.entry >= 0) end = Math.max(end, s.px[s.px.length - 1]);
  }
  const reach = high - low || Math.abs(high) * 0.2 || 2;
  let [least, most] = [low, high];
  for (const s of series) {
    for (const v of s.low || []) least = Math.min(least, Math.max(v, low - reach / 2));
    for (const v of s.high || []) most = Math.max(most, Math.min(v, high + reach / 2));
  }
  const margin = 0.06 * (most - least) || reach / 2;
  return { low: least - margin, high: most + margin, end: end || 1 };
}

function draw(box) {
  const width = box.clientWidth, rows = box.clientHeight;
  if (!width) return;
  box.querySelector("svg")?.remove();
  const chart = data.charts[box.dataset.chart];
  const svg = add(box, "svg", { viewBox: `0 0 ${width} ${rows}`, role: "img",
                                "aria-label": chart.label });
  const series = visible(chart);
  box.points = [];
  hide(box);
  if (!series.some((s) => s.entry >= 0)) {
    const words = add(svg, "text", { x: width / 2, y: rows / 2, "text-anchor": "middle" });
    words.textContent = state.log ? "nothing above 0" : "nothing to show";
    return;
  }
  const range = bounds(series), left = 52, right = 10, top = 8, bottom = 20;
  const inside = (v) => Math.min(range.high, Math.max(range.low, v));
  const toX = (v) => left + (v / range.end) * (width - left - right);
  const toY = (v) => rows - bottom
    - ((inside(v) - range.low) / (range.high - range.low)) * (rows - top - bottom);
  drawAxes(svg, range, toX, toY, { left, right: width - right, bottom: rows - bottom, rows });
  // Others' curves stand behind ours, and bands behind all curves.
  series.sort((a, b) => (a.entry < 0 ? 0 : 1) - (b.entry < 0 ? 0 : 1));
  series.filter((s) => s.low).forEach((s) => drawBand(svg, s, toX, toY));
  for (const s of series) box.points.push({ ...s, at: drawCurve(svg, s, toX, toY) });
  box.cursor = add(svg, "line", { y1: top, y2: rows - bottom, class: "cursor",
                                  visibility: "hidden" });
}

function drawAxes(svg, range, toX, toY, place) {
  const { low, high, end } = range, { left, right, bottom, rows } = place;
  for (const v of state.log ? logTicks(low, high) : ticks(low, high, rows > 250 ? 6 : 4)) {
    const y = toY(v);
    add(svg, "line", { x1: left, x2: right, y1: y, y2: y, class: "grid" });
    add(svg, "text", { x: left - 6, y: y + 4, "text-anchor": "end" }).textContent =
      amount(state.log ? 10 ** v : v);
  }
  const unit = state.x === "t" || end >= 1 ? 1 : end >= 1 / 60 ? 60 : 3600;
  const names = { 1: "h", 60: "min", 3600: "s" };
  for (const v of ticks(0, end * unit, Math.max(2, Math.floor((right - left) / 75)))) {
    const x = toX(v / unit), anchor = !v ? "start" : x > right - 20 ? "end" : "middle";
    add(svg, "text", { x: anchor === "end" ? right + 8 : x, y: rows - 5, "text-anchor": anchor })
      .textContent = state.x === "t" ? amount(v) : amount(v) + " " + names[unit];
  }
  add(svg, "line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "axis" });
}

function colorOf(s) { return s.entry < 0 ? "published" : "c" + data.entries[s.entry].color; }

function path(points) {
  return points.map((p) => p[0].toFixed(1) + " " + p[1].toFixed(1)).join("L");
}

function drawBand(svg, s, toX, toY) {
  const edge = (values) => values.map((v, k) => [toX(s.px[k]), toY(v)]);
  add(svg, "path", { class: "band " + colorOf(s),
                     d: "M" + path([...edge(s.high), ...edge(s.low).reverse()]) + "Z" });
}

function drawCurve(svg, s, toX, toY) {
  const at = s.px.map((v, k) => [toX(v), toY(s.py[k])]), color = colorOf(s);
  if (at.length === 1) add(svg, "circle", { cx: at[0][0], cy: at[0][1], r: 3, class: color });
  add(svg, "path", { class: color, "stroke-dasharray": DASHES[s.kind], d: "M" + path(at) });
  return at;
}

function nearest(at, x) {
  let low = 0, high = at.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (at[middle][0] < x) low = middle; else high = middle;
  }
  return x - at[low][0] < at[high][0] - x ? low : high;
}

// What a curve has at x pixels: a row's own values, between two rows their mean; null outside.
function valuesAt(s, x) {
  const k = nearest(s.at, x), isRow = Math.abs(s.at[k][0] - x) <= 3;
  const before = isRow || s.at[k][0] < x ? k : k - 1, after = isRow ? k : before + 1;
  if (before < 0 || after >= s.at.length) return null;
  const share = isRow ? 0 : (x - s.at[before][0]) / (s.at[after][0] - s.at[before][0]);
  return [s.py, s.low, s.high].map((v) => v && v[before] + share * (v[after] - v[before]));
}

function describe(s, [middle, low, high]) {
  const several = data.entries.filter((e, place) => isShown(place)).length > 1;
  const name = s.entry < 0 ? s.name
    : [several ? data.entries[s.entry].label : "", s.name].filter(Boolean).join(", ");
  const value = (v) => amount(!state.log ? v : 10 ** v);
  const band = s.entry < 0 || low === undefined ? "" : ` (${value(low)} to ${value(high)})`;
  return (name ? name + ": " : "") + value(middle) + band;
}

function show(box, x) {
  const tip = box.querySelector(".tip"), ours = box.points?.filter((s) => s.entry >= 0) || [];
  if (!ours.length) return;
  let place = null;
  for (const s of ours) {
    const k = nearest(s.at, x);
    if (!place || Math.abs(s.at[k][0] - x) < Math.abs(place.x - x))
      place = { x: s.at[k][0], value: s.px[k] };
  }
  const lines = [...ours, ...box.points.filter((s) => s.entry < 0)].flatMap((s) => {
    const values = valuesAt(s, place.x);
    return values ? [describe(s, values)] : [];
  });
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
  box.place = place.x;
}

function hide(box) {
  box.querySelector(".tip").hidden = true;
  box.cursor?.setAttribute("visibility", "hidden");
  box.place = null;
}

// Fifty steps from one end to the other, single points with shift.
function walk(box, event) {
  if (event.key === "Escape") return hide(box);
  if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
  if (!box.points?.length) return;
  event.preventDefault();
  const at = box.points.filter((s) => s.entry >= 0)
    .reduce((a, s) => (s.at.length > a.length ? s.at : a), []);
  const last = at.length - 1, jump = event.shiftKey ? 1 : Math.max(1, Math.round(last / 50));
  const now = box.place === null ? last : nearest(at, box.place);
  const next = { ArrowLeft: now - jump, ArrowRight: now + jump, Home: 0, End: last }[event.key];
  show(box, at[Math.min(last, Math.max(0, next))][0]);
}

function press(button, pressed) { button.setAttribute("aria-pressed", String(pressed)); }

for (const button of document.querySelectorAll("button.choice")) {
  button.addEventListener("click", () => {
    const [key, value] = [button.dataset.key, button.dataset.value];
    state[key] = key === "log" ? value === "log" : value;
    for (const other of document.querySelectorAll(`button.choice[data-key=${key}]`))
      press(other, other === button);
    for (const other of document.querySelectorAll("button[data-entry]"))
      other.hidden = data.entries[other.dataset.entry].view !== state.view;
    boxes.forEach(draw);
  });
}
for (const button of document.querySelectorAll("button[data-entry]")) {
  button.addEventListener("click", () => {
    const entry = Number(button.dataset.entry);
    if (!state.hidden.delete(entry)) state.hidden.add(entry);
    press(button, !state.hidden.has(entry));
    boxes.forEach(draw);
  });
}
const observer = new ResizeObserver((entries) => entries.forEach((e) => draw(e.target)));
for (const box of boxes) {
  for (const kind of ["pointermove", "pointerdown"])
    box.addEventListener(kind, (event) =>
      show(box, event.clientX - box.getBoundingClientRect().left));
  // A finger that is lifted has left, too: what it has shown stays until another place is touched.
  box.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide(box));
  box.addEventListener("keydown", (event) => walk(box, event));
  box.addEventListener("blur", () => hide(box));
  observer.observe(box);
}
document.addEventListener("pointerdown", (event) =>
  boxes.filter((box) => !box.contains(event.target)).forEach(hide));
})();
"""
