"""What reaches a function that has annotations: from maps and reducers, into ``**kwargs``, and past the user's own modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.local_project import LocalProject

HEAD = "from toolkit import *\nfrom toolkit import Pipeline\nimport functions\n"


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


MAPS = """\
import datetime
from decimal import Decimal
from typing import Any, Optional

def price(n): return Decimal(n) / 4
def total(prices: list[Decimal]): return sum(prices, Decimal(0))
def most(prices: "tuple[Decimal, ...]"): return {max(prices)}
def use(each: list[Decimal], all: Decimal, top: set[Decimal], untyped: Any):
    assert each == [Decimal("0.25"), Decimal("2.25"), Decimal("10.25")] and all == Decimal("12.75"), (each, all)
    assert top == {Decimal("10.25")} and untyped == ["0.25", "2.25", "10.25"], (top, untyped)
def wrong(each: list[int]): pass
"""


def test_what_a_map_returns_is_cast_for_its_reducer_and_for_the_steps_after_it(project: LocalProject) -> None:
    # Given maps whose items return decimals, with reducers that take them,
    project.write("functions.py", MAPS)
    maps = "".join(
        f"  Map({name!r}, iterate_on='ns', iterate_as='n', reducer={reducer},\n"
        f"    branch=PythonTask(functions.price, returns=[{name!r}]).as_pipeline()),\n"
        for name, reducer in (
            ("each", "None"),
            ("all", "functions.total"),
            ("top", "functions.most"),
            ("untyped", "None"),
        )
    )
    steps = '  PythonTask(functions.use),\n  ShellTask(\'shell\', \'test "$all|$top" = "12.75|[\\\\"10.25\\\\"]"\'),\n'
    project.write("pipeline.py", f"{HEAD}p = Pipeline(steps=[\n{maps}{steps}  PythonTask(functions.wrong)])\n")
    # when they run, then each function gets what it asks for, and one that asks for something else is told so.
    assert project.run("pipeline.py", "--param", "ns=[1, 9, 41]") == 1
    rows = {row["path"]: row for row in project.show()["steps"]}
    assert rows["use"]["status"] == rows["shell"]["status"] == "succeeded", project.err
    assert rows["wrong"]["attempts"][-1]["reason"] == (
        'the parameter each can\'t be list[int]: each[0] is "0.25", which is no int'
    )


KEYWORDS = """\
from __future__ import annotations
import datetime

def step(flag: bool = None, day: datetime.date = None, *, count: int = None, **more: int):
    assert flag is None and day is None and count is None and set(more) >= {"n"} and more["n"] == 3, (flag, day, count, more)
    return True
"""


def test_none_is_a_value_of_what_has_it_as_default_and_each_of_kwargs_is_cast(project: LocalProject) -> None:
    project.write("functions.py", KEYWORDS)
    project.write("pipeline.py", f"{HEAD}p = Pipeline(steps=[PythonTask(functions.step, returns=['ok'])])\n")
    given = ["--param", "flag=null", "--param", "day=null", "--param", "count=null", "--param", 'n="3"']
    assert project.run("pipeline.py", *given) == 0, project.err
    assert project.run("pipeline.py", *given, "--param", "word=x") == 1
    reason = project.show()["steps"][0]["attempts"][-1]["reason"]
    assert reason == 'the parameter word can\'t be int: it is "x", which is no int'


def test_modules_of_the_users_with_names_of_libraries_change_no_cast(project: LocalProject) -> None:
    # Given modules of one's own that are named like those that casts need, with a class of a library's name,
    for name in ("base64", "json", "re", "typing", "dataclasses", "ast", "decimal", "zoneinfo"):
        project.write(
            f"{name}.py", f"class Own:\n    pass\nclass {'Decimal' if name == 'decimal' else 'Other'}:\n    pass\n"
        )
    project.write(
        "functions.py",
        "import datetime, decimal\n"
        "def makes(): return b'x', datetime.date(2024, 1, 3), {1, 2}\n"
        "def takes(raw: bytes, day: 'datetime.date | None', numbers: 'set[int]'):\n"
        "    import base64\n"
        "    assert raw == b'x' and day == datetime.date(2024, 1, 3) and numbers == {1, 2} and base64.Own\n"
        "def refused(raw: decimal.Decimal): pass\n",
    )
    project.write(
        "pipeline.py",
        f"{HEAD}p = Pipeline(steps=[PythonTask(functions.makes, returns=['raw', 'day', 'numbers']),\n"
        "  PythonTask(functions.takes), PythonTask(functions.refused)])\n",
    )
    # when values are cast, then with the libraries; and the user's own class is none of them.
    assert project.run("pipeline.py") == 1, project.err
    rows = {row["path"]: row for row in project.show()["steps"]}
    assert rows["takes"]["status"] == "succeeded", project.err
    assert "of which no Decimal can be made; declare the return as pickled" in rows["refused"]["attempts"][-1]["reason"]
