"""The results of contracts as one HTML page that opens offline.

Great Expectations' own Data Docs load their style from a content delivery network and fail on
numpy numbers, so the page is written here: no script, no request, every value escaped.
"""

from collections.abc import Sequence
from html import escape

from data_contracts.contract_result import ContractResult, Example, RuleOutcome

_STYLE = """
:root { color-scheme: light dark;
  --ink: light-dark(#1d2129, #e4e6eb); --quiet: light-dark(#59616e, #a3abb8);
  --paper: light-dark(#fff, #16181d); --line: light-dark(#dfe3e8, #343942);
  --met: light-dark(#1a6b3c, #6fd39a); --noted: light-dark(#8a5300, #f0b45c);
  --broken: light-dark(#b3261e, #ff9389); --tint: light-dark(#f6f7f9, #1f2229); }
body { margin: 2.5rem auto; padding: 0 1.25rem; max-width: 76rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 0; }
p { margin: 0; color: var(--quiet); } section { margin-top: 2.5rem; }
.scroll { overflow-x: auto; margin-top: .75rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .5rem .75rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 600; background: var(--tint); }
tbody th { font-weight: 500; white-space: nowrap; }
.count { text-align: right; font-variant-numeric: tabular-nums; }
.status { white-space: nowrap; font-weight: 600; }
.met { color: var(--met); } .noted { color: var(--noted); } .broken { color: var(--broken); }
ul { margin: 0; padding: 0; list-style: none; } li + li { margin-top: .25rem; }
code { font: .92em ui-monospace, monospace; overflow-wrap: anywhere; }
"""


def render_page(results: Sequence[ContractResult], title: str) -> str:
    """One self-contained HTML document with a table for each result, broken rules first."""
    broken = sum(len(result.failed) for result in results)
    noted = sum(len(result.reported) for result in results)
    sections = "".join(_section(result, number) for number, result in enumerate(results, start=1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p>Tables checked: {len(results)}. Rules broken: {broken}. Rules to look at: {noted}.</p>
</header>
<main>
{sections}</main>
</body>
</html>
"""


def _section(result: ContractResult, number: int) -> str:
    ranked = sorted(result.outcomes, key=lambda o: (o.success, o.severity == "report"))
    rows = "".join(_row(outcome) for outcome in ranked)
    return f"""<section aria-labelledby="table-{number}">
<h2 id="table-{number}">{escape(result.table)}</h2>
<p>{result.rows:,} rows against the contract {escape(result.contract)}: {_verdict(result)}</p>
<div class="scroll" role="region" aria-labelledby="table-{number}" tabindex="0">
<table>
<thead><tr><th scope="col">Status</th><th scope="col">Rule</th>
<th scope="col" class="count">Rows</th><th scope="col">Examples</th>
<th scope="col">What to do</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
</section>
"""


def _verdict(result: ContractResult) -> str:
    if result.failed:
        return f'<strong class="broken">broken, rules: {len(result.failed)}.</strong>'
    if result.reported:
        return f'<strong class="noted">met, rules to look at: {len(result.reported)}.</strong>'
    return '<strong class="met">met.</strong>'


def _row(outcome: RuleOutcome) -> str:
    # A word beside the colour: the state must not hang on seeing colours.
    status, word = _status(outcome)
    examples = "".join(_example(example) for example in outcome.examples)
    shown = f"<ul>{examples}</ul>" if examples else escape(outcome.detail or "")
    remedy = "" if outcome.success else escape(outcome.remedy)
    count = f"{outcome.unexpected_count:,}"
    return (
        f'<tr><td class="status {status}">{word}</td>'
        f'<th scope="row"><code>{escape(outcome.rule)}</code></th>'
        f'<td class="count">{count}</td><td>{shown}</td><td>{remedy}</td></tr>\n'
    )


def _status(outcome: RuleOutcome) -> tuple[str, str]:
    if outcome.success:
        return "met", "met"
    return ("broken", "broken") if outcome.severity == "stop" else ("noted", "look")


def _example(example: Example) -> str:
    return f"<li><code>{escape(example.id)}</code>: <code>{escape(repr(example.value))}</code></li>"
