"""Values of many runs side by side: what ``toolkit runs --table`` shows, and how it is sorted."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from toolkit.config.decode import nearest
from toolkit.errors import BadInput
from toolkit.report.contract import RunRow
from toolkit.report.view import View, summary
from toolkit.store.reader import Run, RunLog

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import JsonValue

_OWN = ("run_id", "pipeline", "environment", "tag", "status", "started", "ended")
"""Keys of a run itself, by which it can be sorted as well. A value of that name is meant first."""
_DESCRIPTIONS = ({"object", "sha256", "size"}, {"kind", "sha256", "size"})
"""The keys of what stands for an object and for a large value: nothing lies inside them."""


class TabledRun(NamedTuple):
    """A run with the values that it has at its end.

    Attributes:
        declared: names that its steps return, whether or not they have.
    """

    summary: RunRow
    parameters: dict[str, JsonValue]
    declared: frozenset[str]


def run_values(log: RunLog, run: Run) -> TabledRun:
    """Reads a run's own parameters as they are at its end. A large value is described, and not read.

    Raises:
        DamagedRun: its plan can't be read. StoreFault: one of its values.
    """
    view = View(log, run)
    declared = (each["name"] for row in view.plan.document["steps"] for each in row.get("returns", ()))
    return TabledRun(summary(log, run), view.parameters(), frozenset(declared))


def parse_columns(text: str) -> tuple[str, ...]:
    """The columns of ``--table``, each once.

    Raises:
        BadInput: there is none, or one is empty.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise BadInput(
            "--table needs the names of values, with commas between them, as in --table accuracy,scores.rmse"
        )
    return names


def table(runs: Sequence[TabledRun], columns: Sequence[str]) -> list[RunRow]:
    """The rows, each with the values that the run has of these columns.

    Args:
        columns: names of parameters. A dot leads into a mapping, or to a position of a list.

    Raises:
        BadInput: no run has a value of that name, and no step returns one.
    """
    rows: list[RunRow] = []
    for run in runs:
        found = ((name, _find(run.parameters, name)) for name in columns)
        rows.append({**run.summary, "values": {name: values[0] for name, values in found if values}})
    for name in columns if runs else ():
        if not any(name in row["values"] for row in rows):
            _check_known(name, runs)
    return rows


def _find(parameters: JsonValue, name: str) -> list[JsonValue]:
    """The value as the only item of a list; empty where there is none. The longest key that the name begins with is meant."""
    if isinstance(parameters, dict):
        if name in parameters:
            return [parameters[name]]
        parts = name.split(".")
        for length in range(len(parts) - 1, 0, -1):
            key = ".".join(parts[:length])
            if key in parameters:
                return _below(parameters[key], ".".join(parts[length:]))
    elif isinstance(parameters, list):
        position, _, rest = name.partition(".")
        if position.isascii() and position.isdecimal() and int(position) < len(parameters):
            value = parameters[int(position)]
            return _below(value, rest) if rest else [value]
    return []


def _below(value: JsonValue, name: str) -> list[JsonValue]:
    """As of :func:`_find`; nothing lies below what only describes an object or a large value."""
    return [] if isinstance(value, dict) and set(value) in _DESCRIPTIONS else _find(value, name)


def _check_known(name: str, runs: Sequence[TabledRun]) -> None:
    """Refuses a name that no run has, unless one may yet have it: a step returns it, and none that is listed got so far."""
    known: set[str] = set()
    top = name.partition(".")[0]
    # Where a run got so far, and the name is not in what it returned, a run that failed before does not vouch for it.
    is_open = not any(top in run.parameters for run in runs)
    for run in runs:
        if is_open and top in run.declared:
            return
        known |= run.declared | set(_names(run.parameters))
    close = nearest(name, known)
    if close is not None:
        hint = f"; did you mean {close}?"
    else:
        shown = sorted(known)[:10]
        more = " …" if len(known) > len(shown) else ""
        hint = f"; they have {', '.join(shown)}{more}" if shown else ", nor any other"
    raise BadInput(f"none of these runs has a value {name}{hint}")


def _names(parameters: dict[str, JsonValue]) -> Iterable[str]:
    """The names of the values, and of those in mappings below them."""
    for name, value in parameters.items():
        yield name
        if isinstance(value, dict) and set(value) not in _DESCRIPTIONS:
            yield from (f"{name}.{below}" for below in _names(value))


def sort(rows: Sequence[RunRow], columns: Sequence[str], by: str) -> list[RunRow]:
    """The rows in the order of a column: numbers first, then texts, then the rest; equal ones stay in their order.

    Args:
        by: a column, or a key of the run itself; with ``-`` before it, the largest comes first. A run without the value comes
            last either way.

    Raises:
        BadInput: there is no such column.
    """
    descending = by not in columns and by.startswith("-")
    name = by[1:] if descending else by
    if name not in columns and name not in _OWN:
        close = nearest(name, [*columns, *_OWN])
        hint = f"did you mean {close}?" if close else f"the columns are {', '.join([*columns, *_OWN])}"
        raise BadInput(f"there is no column {name!r} to sort by; {hint}")

    def value(row: RunRow) -> JsonValue:
        own: JsonValue = row.get(name)
        return row["values"].get(name) if name in columns else own

    # A NaN is not comparable, so it counts as missing.
    there = [row for row in rows if value(row) is not None and value(row) == value(row)]
    missing = [row for row in rows if value(row) is None or value(row) != value(row)]
    return sorted(there, key=lambda row: _order(value(row)), reverse=descending) + missing


def _order(value: JsonValue) -> tuple[int, float, str]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return 0, value, ""
    if isinstance(value, str):
        return 1, 0, value
    return 2, 0, json.dumps(value)


def to_csv(rows: Iterable[RunRow], columns: Sequence[str]) -> str:
    """The rows as CSV (RFC 4180, with lines that end in LF): the run's own keys, then the columns.

    A text is as it is, everything else as JSON; what is missing is empty.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_OWN, *columns])
    for row in rows:
        values = row.get("values", {})
        own = [row.get(key) or "" for key in _OWN]
        writer.writerow([*own, *(_cell(values[name]) if name in values else "" for name in columns)])
    return file.getvalue()


def _cell(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
