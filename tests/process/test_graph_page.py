"""docs/graph.md: its code runs, what it says is refused is refused with the very sentence, and its pictures are the script's."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import pytest

from tests.support.local_project import LocalProject
from tests.support.pages import DOCS, blocks, write_files

PAGE = "graph.md"
_BLOCKS = blocks(PAGE)
REFUSED = {
    block.file: refused.text
    for block, refused in itertools.pairwise(_BLOCKS)
    if block.file is not None and refused.language == "text"
}
"""What is below a file that can't run."""


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


def test_the_three_forms_of_the_page_are_one_graph(project: LocalProject) -> None:
    forms = write_files(project.root, PAGE, "In three forms")[1:]
    assert forms == ["pipeline.py", "driver.py", "pipeline.yaml"]
    for form in forms:
        tree = project.plan(form).document()["scopes"][""]
        after = {path: {tree["steps"][one] for one in earlier} for path, earlier in tree["after"].items()}
        assert after == {"load": set(), "count": {"load"}, "draw": {"load"}, "publish": {"count", "draw"}}, form
        assert project.run(form) == 0, project.err
        assert project.toolkit("logs", project.show()["run_id"], "publish") == 0
        assert project.out == "3 rows are published\n"


def test_what_the_page_says_is_refused_with_its_sentence(project: LocalProject) -> None:
    write_files(project.root, PAGE)
    assert len(REFUSED) == 6
    for file, sentence in REFUSED.items():
        assert project.run(file) == 2, project.err
        assert sentence in project.err


def test_the_remedy_of_the_page_runs(project: LocalProject) -> None:
    write_files(project.root, PAGE)
    assert project.run("named.py") == 0, project.err
    assert project.show()["parameters"]["size"] == 1


def test_the_example_is_the_same_in_both_forms(project: LocalProject) -> None:
    example = DOCS.parent / "examples" / "graph"
    for name in ("demand.py", "pipeline.py", "dag.yaml"):
        project.write(name, (example / name).read_text())
    assert project.plan("pipeline.py").document() == project.plan("dag.yaml").document()


def test_the_pictures_are_what_the_script_draws() -> None:
    spec = importlib.util.spec_from_file_location("pictures_of_docs", DOCS / "pictures.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    drawn: dict[str, str] = script.pictures()
    text = (DOCS / PAGE).read_text() + (DOCS.parent / "examples/graph/README.md").read_text()
    for path, picture in drawn.items():
        assert (DOCS.parent / path).read_text() == picture, "run python docs/pictures.py"
        assert Path(path).name in text
    assert {Path(path).name for path in drawn if path.startswith("docs/")} == {
        one.name for one in (DOCS / "pictures").glob("graph-*")
    }
