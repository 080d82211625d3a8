"""A comparison of two runs as JSON, and as text for a person."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from toolkit.report.diff import ABSENT, Absent, Difference, compared_fields
from toolkit.report.facts import RunFacts
from toolkit.report.fields import NOT_COMPARED, WAIVED_BY_PROCESS
from toolkit.report.table import counted, print_table, printable

if TYPE_CHECKING:
    from toolkit.report.contract import ComparedRun, DiffDocument, DifferenceDocument

_LONGEST_VALUE = 44
"""Characters of a value in the table."""
_CONTEXT = 12
"""Characters of a shortened value before the place where the two begin to differ."""
_MOST_STEPS = 3
"""Steps that a row of the table names, and rows for what differs alike in all items of a map."""


def document(a: RunFacts, b: RunFacts, differences: Sequence[Difference]) -> DiffDocument:
    """All of ``toolkit diff A B --json``."""
    fields = compared_fields(a, b)
    common = [path for path in a.steps if path in b.steps]
    return {
        "a": _run(a),
        "b": _run(b),
        "same": not differences,
        "differences": [_difference(difference) for difference in differences],
        "compared": {
            "fields": fields,
            "steps": common,
            "attempted": sum(bool(a.steps[path].begin and b.steps[path].begin) for path in common),
            "objects": len({*a.objects, *b.objects}),
        },
        "waived": [name for name in WAIVED_BY_PROCESS if name not in fields],
        "not_compared": [{"name": name, "why": why} for name, why in NOT_COMPARED.items()],
    }


def _run(run: RunFacts) -> ComparedRun:
    return {"run_id": run.run_id, "environment": run.environment, "status": run.status}


def _difference(difference: Difference) -> DifferenceDocument:
    row: DifferenceDocument = {
        "field": difference.field,
        "where": difference.where,
        "steps": list(difference.steps),
    }
    if not isinstance(difference.a, Absent):
        row["a"] = difference.a
    if not isinstance(difference.b, Absent):
        row["b"] = difference.b
    return row


def print_diff(diff: DiffDocument, everything: bool) -> None:
    """Prints one line if the runs are the same, else also a row for each difference.

    Args:
        diff: what :func:`document` gives. everything: also print why each thing is not compared.
    """
    a, b = (f"{run['run_id']} ({run['environment']})" for run in (diff["a"], diff["b"]))
    compared = diff["compared"]
    extent = f"{len(compared['fields'])} fields of {counted(len(compared['steps']), 'step')} compared"
    if compared["objects"]:
        extent += f", the bytes of {counted(compared['objects'], 'object')} hashed again"
    if diff["same"]:
        sameness = "the same in what both can have" if diff["waived"] else "the same"
        print(f"the runs {a} and {b} are {sameness}: {extent}")
    else:
        fields = ", ".join(dict.fromkeys(row["field"] for row in diff["differences"]))
        print(f"the runs {a} and {b} differ in {fields}: {extent}\n")
        print_table([("FIELD", "STEPS", "WHERE", "A", "B"), *_rows(diff["differences"], compared["attempted"])])
        print()
    if diff["waived"]:
        print(f"not compared, because a plain process has none: {', '.join(diff['waived'])}")
    if everything:
        print("not compared:")
        for row in diff["not_compared"]:
            print(f"  {row['name']}: {row['why']}")
    else:
        print(f"not compared: {', '.join(row['name'] for row in diff['not_compared'])} (--all says why)")


def _rows(differences: Sequence[DifferenceDocument], attempted: int) -> Iterator[tuple[str, ...]]:
    """A row for each difference. Of one that many items of a map have, the first rows and how many more there are."""
    totals = Counter(_kind(difference) for difference in differences)
    printed: Counter[tuple[str, str, str]] = Counter()
    for difference in differences:
        kind = _kind(difference)
        printed[kind] += 1
        if totals[kind] <= _MOST_STEPS + 1 or printed[kind] <= _MOST_STEPS:
            yield _row(difference, attempted)
        elif printed[kind] == _MOST_STEPS + 1:
            more = totals[kind] - _MOST_STEPS
            yield (difference["field"], kind[2], difference["where"], f"… and {more:,} more", "")


def _kind(difference: DifferenceDocument) -> tuple[str, str, str]:
    """What a difference has in common with those of other items: field, place, and steps with a star for each position."""
    steps = ["/".join("*" if part.isdigit() else part for part in path.split("/")) for path in difference["steps"]]
    return difference["field"], difference["where"], ", ".join(dict.fromkeys(steps))


def _row(difference: DifferenceDocument, attempted: int) -> tuple[str, ...]:
    steps = difference["steps"]
    # A difference in every step, as in image and code, is one of the run.
    shown = "all" if len(steps) == attempted > 1 else ", ".join(steps[:_MOST_STEPS])
    if len(steps) > _MOST_STEPS and shown != "all":
        shown += f" and {len(steps) - _MOST_STEPS:,} more"
    a, b = shorten_pair(difference.get("a", ABSENT), difference.get("b", ABSENT))
    return (difference["field"], shown, difference["where"], a, b)


def shorten_pair(a: object, b: object) -> tuple[str, str]:
    """Two values as text; long ones begin shortly before the first place where they differ."""
    text_a, text_b = _text(a), _text(b)
    if max(len(text_a), len(text_b)) <= _LONGEST_VALUE:
        return text_a, text_b
    start = 0
    if not isinstance(a, Absent) and not isinstance(b, Absent):
        pairs = enumerate(zip(text_a, text_b, strict=False))
        place = next((index for index, (x, y) in pairs if x != y), min(len(text_a), len(text_b)))
        start = max(0, place - _CONTEXT)
    return _cut(text_a, start), _cut(text_b, start)


def _cut(text: str, start: int) -> str:
    rest = ("…" + text[start + 1 :]) if start else text
    return rest if len(rest) <= _LONGEST_VALUE else rest[: _LONGEST_VALUE - 1] + "…"


def _text(value: object) -> str:
    if isinstance(value, Absent):
        return "-"
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
