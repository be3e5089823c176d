"""The style sheet of the report: light and dark as the reader's system is, and one column on a phone."""

from __future__ import annotations

# Each colour of text or lines has a contrast of at least 4.5 (text) or 3 (lines) with its background.
STYLE = """
:root { --paper: #ffffff; --ink: #1c2024; --muted: #5c656f; --grid: #dfe3e7; --soft: #f4f6f8;
  --fp32: #6d7781; --int8: #0b6e8f; --good: #1a6b3c; --bad: #b3360b }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --ink: #e6e9ec; --muted: #9aa4ae; --grid: #343a41; --soft: #1d2125;
    --fp32: #a3adb8; --int8: #53c1e6; --good: #63c98c; --bad: #ff9466 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0 }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-top: 1px solid var(--grid); padding-top: 1rem }
p { margin: .5rem 0; max-width: 46rem }
.good { color: var(--good) }
.bad { color: var(--bad) }
figure { margin: 1rem 0; max-width: 34rem }
figure svg { display: block; width: 100%; height: auto }
figure text { font-family: system-ui, sans-serif !important }
figcaption { color: var(--muted); font-size: .875rem }
@media (min-width: 64rem) { figure { display: inline-block; vertical-align: top; width: 31rem; margin-right: 1rem } }
.scroll { overflow-x: auto; margin: .75rem 0 }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--int8); outline-offset: 2px }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums }
.caption { color: var(--muted); font-size: .875rem; margin: 1rem 0 -.5rem }
th, td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top }
th.number { text-align: right }
thead th { color: var(--muted); font-weight: 600 }
tbody th { font-weight: 500 }
.number { text-align: right; white-space: nowrap }
.facts td { text-align: left; white-space: normal }
.words { min-width: 16rem }
details { margin: .75rem 0 }
summary { cursor: pointer; color: var(--int8) }
@media (max-width: 30rem) { body { padding: .75rem } table { font-size: .8125rem } th, td { padding-right: .5rem } }
@media print { details > * { display: block } }
"""
