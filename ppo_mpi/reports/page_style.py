"""The style sheet of a report: light and dark, a phone's width and a desk's."""

from __future__ import annotations

STYLE_SHEET = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --soft: #595959; --line: #d9d9d9;
  --grid: #ececec; --box: #f6f6f6; --c0: #0072b2; --c1: #c04f00; --c2: #007a58; --c3: #a86f00;
  --c4: #a8457e; --c5: #2b86bd; --c6: #444; --c7: #7a7000; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #ececec;
  --soft: #a9adb3; --line: #3b3f45; --grid: #2a2d32; --box: #202328; --c0: #56b4e9; --c1: #ff8a4c;
  --c2: #2fd3a2; --c3: #f0b030; --c4: #e79cc6; --c5: #8fd0f5; --c6: #cfcfcf; --c7: #f0e442; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 16px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1, h2, h3, p, dd, figcaption, summary { overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0.2rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.6rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 0.4rem; }
p { margin: 0.4rem 0; } .soft { color: var(--soft); font-size: 0.9rem; }
.cards { display: flex; flex-wrap: wrap; gap: 0.6rem; margin: 0.8rem 0; padding: 0; }
.card { background: var(--box); border-radius: 0.4rem; padding: 0.5rem 0.8rem; min-width: 8rem; }
.card dt { color: var(--soft); font-size: 0.85rem; }
.card dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9rem; }
caption { text-align: left; color: var(--soft); padding: 0.2rem 0; }
th, td { text-align: left; padding: 0.25rem 0.7rem 0.25rem 0; vertical-align: top;
  border-bottom: 1px solid var(--grid); overflow-wrap: break-word; }
thead th { color: var(--soft); font-weight: 600; } 
th[scope=row] { font-weight: 500; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.controls { display: flex; flex-wrap: wrap; gap: 0.4rem; margin: 0.5rem 0; }
button { font: inherit; font-size: 0.9rem; color: var(--ink); background: var(--box);
  border: 1px solid var(--line); border-radius: 0.4rem; padding: 0.25rem 0.7rem; cursor: pointer;
  max-width: 100%; overflow-wrap: anywhere; text-align: left; }
button[hidden] { display: none; }
button[aria-pressed=false] { color: var(--soft); text-decoration: line-through; }
button[aria-pressed=false] .swatch { opacity: 0.3; }
button.choice[aria-pressed=false] { color: var(--ink); text-decoration: none; }
button.choice[aria-pressed=true] { border-color: var(--c0); color: var(--c0); }
:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
.swatch { display: inline-block; width: 1.1rem; height: 0.2rem; margin-right: 0.4rem;
  vertical-align: middle; }
.charts { display: grid; gap: 1rem 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.charts figure:first-child.wide { grid-column: 1 / -1; }
figure { margin: 0; min-width: 0; } figcaption { font-size: 0.95rem; font-weight: 600; }
.chart { position: relative; height: 190px; touch-action: pan-y; } .wide .chart { height: 320px; }
.chart svg { display: block; width: 100%; height: 100%; }
.chart text { fill: var(--soft); font-size: 11px; } .chart .grid { stroke: var(--grid); }
.chart .axis { stroke: var(--line); } .chart path:not(.band) { fill: none; stroke-width: 1.6; }
.chart .published { stroke: var(--soft); stroke-width: 1.1; }
.chart .band { stroke: none; opacity: 0.16; }
.chart .cursor { stroke: var(--soft); }
.tip { position: absolute; top: 4px; pointer-events: none; background: var(--paper); z-index: 1;
  border: 1px solid var(--line); border-radius: 0.3rem; padding: 0.2rem 0.5rem; font-size: 0.8rem;
  max-width: 70%; overflow-wrap: anywhere; } .tip[hidden] { display: none; }
.bar { display: flex; height: 1.4rem; border-radius: 0.3rem; overflow: hidden; margin: 0.4rem 0; }
.bar span { min-width: 1px; } pre { background: var(--box); border-radius: 0.4rem; padding: 0.6rem;
  overflow-x: auto; font-size: 0.85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.top { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.top > section:first-child { flex: 1 1 24rem; min-width: 0; }
video { max-width: 100%; width: 18rem; border-radius: 0.4rem; display: block; }
.videos { display: flex; flex-wrap: wrap; gap: 1rem; margin: 0.8rem 0; }
details { margin: 0.6rem 0; } summary { cursor: pointer; } footer { margin-top: 2.5rem; }
.swatch.c0, .bar .c0 { background: var(--c0); } .swatch.c1, .bar .c1 { background: var(--c1); }
.swatch.c2, .bar .c2 { background: var(--c2); } .swatch.c3, .bar .c3 { background: var(--c3); }
.swatch.c4, .bar .c4 { background: var(--c4); } .swatch.c5, .bar .c5 { background: var(--c5); }
.swatch.c6 { background: var(--c6); } .swatch.c7 { background: var(--c7); }
path.c0, circle.c0 { stroke: var(--c0); } path.c1, circle.c1 { stroke: var(--c1); }
path.c2, circle.c2 { stroke: var(--c2); } path.c3, circle.c3 { stroke: var(--c3); }
path.c4, circle.c4 { stroke: var(--c4); } path.c5, circle.c5 { stroke: var(--c5); }
path.c6, circle.c6 { stroke: var(--c6); } path.c7, circle.c7 { stroke: var(--c7); }
.chart circle { fill: var(--paper); stroke-width: 1.6; }
.band.c0 { fill: var(--c0); } .band.c1 { fill: var(--c1); }
.band.c2 { fill: var(--c2); } .band.c3 { fill: var(--c3); }
.band.c4 { fill: var(--c4); } .band.c5 { fill: var(--c5); }
.band.c6 { fill: var(--c6); } .band.c7 { fill: var(--c7); }
.band.published { fill: var(--soft); }
@media (max-width: 40rem) { th[scope=row] { white-space: normal; min-width: 6rem; } }
@media print { body { padding: 0; } button.choice, video, .tip, .cursor { display: none; }
  button { border: none; background: none; } .bar, .swatch { print-color-adjust: exact; }
  figure, .card, tr, pre { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""
"""Colors: Okabe and Ito's, darkened or lightened until lines and words stand out from the paper."""
