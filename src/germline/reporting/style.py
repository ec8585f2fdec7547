"""Style sheet of a report: light, dark, narrow and printed pages."""

from __future__ import annotations

LIGHT = """--paper: #ffffff; --text: #1a1a1a; --muted: #595959; --line: #d4d4d4; --strong: #555555; --panel: #f6f6f6;
--warn: #fff3cd; --warn-line: #b37700; --blue: #0072b2; --sky: #56b4e9; --good: #007a58; --bad: #b84e00"""
DARK = """--paper: #16181b; --text: #e8e8e8; --muted: #b4b4b4; --line: #3c4045; --strong: #9a9a9a; --panel: #202328;
--warn: #3b3115; --warn-line: #e0a800; --blue: #2a7fbd; --sky: #9ad5f7; --good: #2fc597; --bad: #ff8a3d"""
STYLE = f"""
:root {{ color-scheme: light dark; {LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {DARK} }} }}
@media print {{ :root {{ color-scheme: light; {LIGHT} }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0; color: var(--text); background: var(--paper);
  -webkit-text-size-adjust: 100% }}
main {{ max-width: 1260px; margin: 0 auto; padding: 1em 1em 3em }}
h1 {{ font-size: 1.5em; line-height: 1.25; margin: .6em 0 .3em }} h2 {{ font-size: 1.15em; margin: 2em 0 .3em }}
p {{ margin: .5em 0; overflow-wrap: anywhere }} .note {{ color: var(--muted); font-size: .9em; max-width: 75em }}
.note li {{ overflow-wrap: anywhere }}
.scroll {{ overflow-x: auto; margin: 1em 0; max-width: 100% }}
:focus-visible {{ outline: 3px solid var(--blue); outline-offset: 2px }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ font-size: .92em; padding: .2em .55em; border-bottom: 1px solid var(--line); text-align: right }}
th {{ border-bottom: 2px solid var(--strong); vertical-align: bottom }}
tbody tr:hover {{ background: var(--panel) }}
td.text, th.text {{ text-align: left }} td {{ white-space: nowrap }} td.long {{ white-space: normal;
  min-width: 12em }}
th button {{ font: inherit; color: inherit; background: none; border: 0; padding: 0; text-align: inherit;
  cursor: pointer }}
th button::after {{ content: "\\2195"; color: var(--muted); padding-left: .3em; font-weight: normal }}
th[aria-sort=ascending] button::after {{ content: "\\2191"; color: inherit }}
th[aria-sort=descending] button::after {{ content: "\\2193"; color: inherit }}
svg {{ max-width: 100%; height: auto; display: block }} svg text {{ fill: currentColor }}
svg.light {{ background: #ffffff; color: #1a1a1a; color-scheme: light; {LIGHT} }}
.points circle {{ outline: none }} .points .lit {{ stroke: var(--text); stroke-width: 2 }}
#value {{ position: fixed; z-index: 2; background: var(--text); color: var(--paper); padding: .25em .6em;
  border-radius: 4px; font-size: .85em; max-width: min(26em, 90vw); pointer-events: none; white-space: pre-line }}
#value:empty {{ display: none }}
code, pre {{ background: var(--panel); padding: .1em .3em; white-space: pre-wrap }}
.quick, .demonstration, .failed {{ background: var(--warn); padding: .5em 1em;
  border-left: 4px solid var(--warn-line) }}
.summary {{ background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .2em 1.2em .8em;
  margin: 1em 0 }}
.summary h2 {{ margin: .5em 0 0 }} .summary h3 {{ font-size: 1em; margin: .8em 0 .2em }}
.summary p, .summary ul {{ margin: .2em 0 }} .summary ul {{ padding-left: 1.2em }}
.summary .verdicts {{ list-style: none; padding: 0 }}
.verdicts li {{ border-left: 6px solid var(--strong); padding: .1em .7em; margin: .35em 0 }}
.verdicts .holds {{ border-color: var(--good) }} .verdicts .reversed {{ border-color: var(--bad) }}
.verdicts .level {{ border-color: var(--blue) }}
.details {{ display: block; font-size: .9em; color: var(--muted) }}
.details span {{ display: inline-block; margin-right: 1.2em }}
@media (max-width: 700px) {{ .figure svg {{ max-width: none }} main {{ padding: .5em .8em 2em }}
  .summary {{ padding: .1em .8em .6em }} }}
@media print {{ body {{ font-size: 12px }} main {{ max-width: none; padding: 0 }} h2 {{ break-after: avoid }}
  svg, tr, .summary {{ break-inside: avoid }} .scroll {{ overflow: visible }} th button::after {{ content: none }}
  #value {{ display: none }} thead {{ display: table-header-group }} }}
"""
