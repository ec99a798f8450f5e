"""The style of the page: one column of text, readable on a phone, on a screen and on paper."""

STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --fill: #f5f7f9; --accent: #1f5fa8; --good: #1a7f4b;
  --bad: #b3261e; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1000px; padding: 1.5rem 1.25rem 4rem; margin: 0 auto; }
nav { padding: 1rem 1.25rem; background: var(--fill); border-bottom: 1px solid var(--line); }
nav ol { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 0; padding: 0; list-style: none; font-size: .9rem; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
h1 { margin: 0 0 .25rem; font-size: 1.9rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.75rem 0 .75rem; padding-bottom: .3rem; font-size: 1.35rem; border-bottom: 2px solid var(--line); }
h3 { margin: 1.75rem 0 .5rem; font-size: 1.05rem; }
p { margin: .5rem 0; max-width: 46rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.tile { padding: .8rem 1rem; background: var(--fill); border: 1px solid var(--line); border-radius: 8px; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { display: block; color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
figure { margin: .5rem 0; } img { display: block; max-width: 100%; height: auto; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; min-width: min(100%, 24rem); }
th, td { padding: .35rem .75rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; border-bottom-width: 2px; white-space: nowrap; }
th.number, td.number { text-align: right; white-space: nowrap; }
td:first-child { min-width: 4.75rem; }
tr.best td { font-weight: 650; background: #eef5fc; }
table.stacked { width: 100%; table-layout: auto; }
table.stacked td { white-space: pre-wrap; overflow-wrap: anywhere; min-width: 4rem; }
table.stacked td.number { white-space: nowrap; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .25rem 1.25rem; margin: .5rem 0;
  font-size: .92rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .9rem 1rem; margin: .5rem 0; font-size: .85rem; line-height: 1.45;
  background: var(--fill); border: 1px solid var(--line); border-radius: 6px; }
pre.written { white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: .75rem 0; } summary { cursor: pointer; color: var(--accent); }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
@media (min-width: 1180px) {
  body { display: grid; grid-template-columns: 13rem minmax(0, 1fr); }
  nav { position: sticky; top: 0; height: 100vh; overflow-y: auto; border: 0; border-right: 1px solid var(--line); }
  nav ol { display: block; } nav li { margin: .4rem 0; }
  main { margin: 0; padding-left: 2.5rem; width: 100%; }
}
@media (max-width: 600px) {
  h1 { font-size: 1.5rem; } main { padding: 1rem 1rem 3rem; }
  .tiles { grid-template-columns: 1fr 1fr; } .tile b { font-size: 1.2rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  table.stacked, table.stacked tbody, table.stacked tr, table.stacked td { display: block; width: 100%; }
  table.stacked thead { display: none; }
  table.stacked tr { padding: .5rem 0; border-bottom: 2px solid var(--line); }
  table.stacked td, table.stacked td.number { padding: .15rem 0; text-align: left; border: 0; white-space: pre-wrap; }
  table.stacked td::before { content: attr(data-label) ": "; color: var(--soft); }
}
@media print {
  body { font-size: 11pt; display: block; } nav { display: none; } main { max-width: none; padding: 0; }
  h2 { break-after: avoid; } figure, tr, .tile { break-inside: avoid; } a { color: inherit; }
  .scroll { overflow: visible; } pre { white-space: pre-wrap; }
}
"""
