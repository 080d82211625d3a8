"""The API reference holds every public name of the SDK, and is not made where one has no docstring."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import toolkit
from toolkit.sdk import steps

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "reference.py"


@pytest.fixture
def reference() -> ModuleType:
    """docs/reference.py as a module; its folder is no package."""
    spec = importlib.util.spec_from_file_location("reference", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_is_on_the_page(reference: ModuleType, tmp_path: Path) -> None:
    assert reference.main([str(tmp_path / "docs")]) == 0

    page = (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")
    assert [name for name in toolkit.__all__ if f'<section id="{name}">' not in page] == []
    assert 'id="PythonTask.as_pipeline"' in page, "what a class inherits is on the page"
    assert 'src="http' not in page and "<link " not in page, "a page that is read without a network"


@pytest.mark.parametrize(
    ("holder", "missing"),
    [
        (steps.metric, "toolkit.metric"),
        (steps.ShellTask, "toolkit.ShellTask"),
    ],
)
def test_a_public_name_without_a_docstring_fails(
    reference: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    holder: object,
    missing: str,
) -> None:
    # Given a function or a class that has lost its docstring, though its base has one,
    monkeypatch.setattr(holder, "__doc__", None)
    # when the reference is made,
    code = reference.main([str(tmp_path)])
    # then it fails, names what lacks one, and writes nothing.
    assert code == 1
    assert capsys.readouterr().err == f"without a docstring: {missing}\n"
    assert not list(tmp_path.iterdir())


def test_a_new_public_method_without_a_docstring_fails(
    reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(steps.Catalog, "merged", lambda self: self, raising=False)
    monkeypatch.setattr(steps.Catalog, "_private", lambda self: self, raising=False)

    assert reference.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err == "without a docstring: toolkit.Catalog.merged\n"
