"""A comparison of two runs as JSON (schemas/diff.schema.json), and as text for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from toolkit.report.diff import ABSENT, Absent, Difference, compared_fields
from toolkit.report.facts import RunFacts
from toolkit.report.fields import NOT_COMPARED, WAIVED_BY_PROCESS
from toolkit.report.text import clean, print_table

_LONGEST = 44
_MOST = 3
"""Steps that are named in a row of the table."""
_BEFORE = 12
"""Characters of a shortened value that stand before the place where the two begin to differ."""


def document(a: RunFacts, b: RunFacts, found: Sequence[Difference]) -> dict[str, Any]:
    """All of ``toolkit diff A B --json``."""
    compared = compared_fields(a, b)
    return {
        "a": _run(a),
        "b": _run(b),
        "same": not found,
        "differences": [_difference(one) for one in found],
        "compared": {
            "fields": compared,
            "steps": [path for path in a.steps if path in b.steps],
            "attempted": sum(
                bool(step.begin and b.steps[path].begin) for path, step in a.steps.items() if path in b.steps
            ),
            "objects": len({*a.objects, *b.objects}),
        },
        "waived": [name for name in WAIVED_BY_PROCESS if name not in compared],
        "not_compared": [{"name": name, "why": why} for name, why in NOT_COMPARED.items()],
    }


def _run(run: RunFacts) -> dict[str, Any]:
    return {"run_id": run.run_id, "environment": run.environment, "status": run.status}


def _difference(one: Difference) -> dict[str, Any]:
    row: dict[str, Any] = {"field": one.field, "where": one.where, "steps": list(one.steps)}
    for side in ("a", "b"):
        value = getattr(one, side)
        if not isinstance(value, Absent):
            row[side] = value
    return row


def print_diff(compared: dict[str, Any], everything: bool) -> None:
    """One line when the runs are the same, else also a row for each difference.

    Args:
        compared: what :func:`document` gives. everything: also say of each thing that is not compared why.
    """
    a, b = (f"{one['run_id']} ({one['environment']})" for one in (compared["a"], compared["b"]))
    counts = compared["compared"]
    looked = f"{len(counts['fields'])} fields of {_count(len(counts['steps']), 'step')} compared"
    if counts["objects"]:
        looked += f", the bytes of {_count(counts['objects'], 'object')} hashed again"
    if compared["same"]:
        how = "the same in what both can have" if compared["waived"] else "the same"
        print(f"the runs {a} and {b} are {how}: {looked}")
    else:
        fields = ", ".join(dict.fromkeys(one["field"] for one in compared["differences"]))
        print(f"the runs {a} and {b} differ in {fields}: {looked}\n")
        attempted = counts["attempted"]
        rows = list(_rows(compared["differences"], attempted))
        print_table([("FIELD", "STEPS", "WHERE", "A", "B"), *rows])
        print()
    if compared["waived"]:
        print(f"not compared, because a plain process has none: {', '.join(compared['waived'])}")
    names = [one["name"] for one in compared["not_compared"]]
    if everything:
        print("not compared:")
        for one in compared["not_compared"]:
            print(f"  {one['name']}: {one['why']}")
    else:
        print(f"not compared: {', '.join(names)} (--all says why)")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _rows(differences: Sequence[dict[str, Any]], attempted: int) -> Iterator[tuple[str, ...]]:
    """A row for each difference; of what is so in many items of a map the first ones, and how many there are."""
    alike: dict[tuple[str, str, str], int] = {}
    for one in differences:
        alike[_kind(one)] = alike.get(_kind(one), 0) + 1
    seen: dict[tuple[str, str, str], int] = {}
    for one in differences:
        kind = _kind(one)
        seen[kind] = seen.get(kind, 0) + 1
        if alike[kind] <= _MOST + 1 or seen[kind] <= _MOST:
            yield _row(one, attempted)
        elif seen[kind] == _MOST + 1:
            yield (one["field"], kind[2], one["where"], f"… and {alike[kind] - _MOST:,} more", "")


def _kind(one: dict[str, Any]) -> tuple[str, str, str]:
    """What is the same of the differences of all items: the last is their path, with a star for the positions."""
    steps = ["/".join("*" if part.isdigit() else part for part in path.split("/")) for path in one["steps"]]
    return one["field"], one["where"], ", ".join(dict.fromkeys(steps))


def _row(one: dict[str, Any], attempted: int) -> tuple[str, ...]:
    of = one["steps"]
    # The image and the code are the run's as much as each step's.
    shown = "all" if len(of) == attempted > 1 else ", ".join(of[:_MOST])
    if len(of) > _MOST and shown != "all":
        shown += f" and {len(of) - _MOST:,} more"
    a, b = shorten_pair(one.get("a", ABSENT), one.get("b", ABSENT))
    return (one["field"], shown, one["where"], a, b)


def shorten_pair(a: Any, b: Any) -> tuple[str, str]:
    """Two values as text, long ones from shortly before the first place at which they differ."""
    one, other = _text(a), _text(b)
    if max(len(one), len(other)) <= _LONGEST:
        return one, other
    both = not isinstance(a, Absent) and not isinstance(b, Absent)
    place = next((i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), min(len(one), len(other)))
    start = max(0, place - _BEFORE) if both else 0
    return _cut(one, start), _cut(other, start)


def _cut(text: str, start: int) -> str:
    begun = ("…" + text[start + 1 :]) if start else text
    return begun if len(begun) <= _LONGEST else begun[: _LONGEST - 1] + "…"


def _text(value: Any) -> str:
    if isinstance(value, Absent):
        return "-"
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True))
