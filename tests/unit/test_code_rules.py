"""Rules of the code itself: what tests share lies in tests/support/, and one name is one thing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def imported(file: Path, tests: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """What a file imports, as line and dotted name; of ``from a import b`` each ``a.b``, because b may be a module."""
    package = ("tests", *file.relative_to(tests).parent.parts)
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, tuple(alias.name.split("."))) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = (*above, *(node.module.split(".") if node.module else ()))
            yield from ((node.lineno, (*module, alias.name)) for alias in node.names)


def wrong_imports(tests: Path) -> list[str]:
    """Each import that breaks the rule, with its file and line."""
    found = []
    for file in sorted(tests.rglob("*.py")):
        where = file.relative_to(tests)
        # A folder's own modules may serve that folder alone, as those of conformance do.
        own = {"support", where.parts[0]}
        for line, name in imported(file, tests):
            if name[0] != "tests":
                continue
            if any(part == "conftest" or part.startswith("test_") for part in name):
                found.append(f"tests/{where}:{line}: it imports {'.'.join(name)}, which is a test or a conftest")
            elif len(name) > 1 and name[1] not in own:
                found.append(f"tests/{where}:{line}: it imports {'.'.join(name)} of another folder than its own")
    return found


def test_tests_import_what_they_share_from_support_alone() -> None:
    assert not wrong_imports(TESTS)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("from tests.unit.test_b import helper", "tests.unit.test_b.helper, which is a test"),
        ("from tests.unit import test_b", "tests.unit.test_b, which is a test"),
        ("from . import test_b", "tests.unit.test_b, which is a test"),
        ("from .test_b import helper", "tests.unit.test_b.helper, which is a test"),
        ("import tests.unit.test_b as b", "tests.unit.test_b, which is a test"),
        ("from ..conftest import scratch", "tests.conftest.scratch, which is a test or a conftest"),
        ("def f():\n    from tests.golden.cases import CASES", "tests.golden.cases.CASES of another folder"),
        ("from tests.support.plans import task", ""),
        ("from tests.unit import other", ""),
    ],
)
def test_an_import_that_breaks_the_rule_is_named(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit" / "test_b.py").write_text("")
    (tmp_path / "unit" / "test_a.py").write_text(line)
    found = wrong_imports(tmp_path)
    assert [told in one for one in found] == ([True] if told else []), found


def test_no_two_public_classes_of_the_package_have_one_name() -> None:
    """But for those of the SDK and of the model that are one thing for the user: a Map is a Map."""
    package = TESTS.parent / "toolkit"
    shared = {"Conditional", "Loop", "Map", "Nested", "Parallel", "Pipeline", "Return", "Stub"}
    places: dict[str, list[str]] = {}
    for file in sorted(package.rglob("*.py")):
        for node in ast.parse(file.read_bytes()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(file.relative_to(package)))
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert twice.keys() == shared, twice
    assert all({file.partition("/")[0] for file in files} == {"model", "sdk"} for files in twice.values()), twice
