"""Write `docs/benchmarks.md`: the table of the last full pass, out of `results.json`.

python -m benchmarks.page > docs/benchmarks.md
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.harness import Condition, Race, Row

RESULTS = Path(__file__).parent / "results.json"
_HEAD = """# Benchmarks

How long the same work takes here and in the reference (`transformers`, `soundfile`, `webdataset`),
row by row of the goals. This page is generated from `benchmarks/results.json`, which a full pass of
`make bench` writes; do not edit it:

```bash
python -m benchmarks.page > docs/benchmarks.md
```

A row holds the medians over the rounds of a race: both sides take turns in one process, in CPU time
(rows of S3 in wall time, because the server is another process). The ratio is how many times as
long the reference takes. `goal` is the least ratio, `stretch` a further one. The last column holds
what must be true besides: how exact the result is, and bounds of memory and time, with the limit in
brackets. Rows without a race show the same time twice. [Records of speed](speed_records.md) holds
how it was measured, why goals are missed, and what earlier commits reached.
"""


def page(results: Mapping[str, Any]) -> str:
    """Return the whole page as Markdown; `results` is the content of `results.json`."""
    machine = results["machine"]
    where = (
        f"Measured on {results['date']}: {machine['cores']} cores of an {machine['cpu']}, "
        f"{machine['threads']} thread, Python {machine['python']}, torch {machine['torch']}, "
        f"transformers {machine['transformers']}."
    )
    rows = [_row(values) for values in results["rows"]]
    missed = [f"- {sentence}" for row in rows for sentence in row.missed]
    table = [report.header(), *map(report.table_row, rows)]
    verdict = ["## Goals and bounds that this pass missed", "", *(missed or ["None."])]
    return "\n".join([_HEAD, where, "", *table, "", *verdict]) + "\n"


def _row(values: Mapping[str, Any]) -> Row:
    return Row(
        name=values["name"],
        work=values["work"],
        race=Race(**values["race"]),
        goal=values["goal"],
        stretch=values["stretch"],
        conditions=tuple(Condition(**condition) for condition in values["conditions"]),
    )


if __name__ == "__main__":
    print(page(json.loads(RESULTS.read_text())), end="")
