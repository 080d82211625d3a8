"""What a cluster would be given of each conformance case that `task test` does not run there.

Kept in tests/golden/conformance/, a file a case: the templates of its Workflow, and of each pod only what a plain step's has not.
TOOLKIT_REGENERATE=1 writes them again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conformance.case import Case
from tests.conformance.cases import CASES
from tests.support import argo_cases as cases
from tests.support.local_project import LocalProject
from toolkit.backends.argo.compile.workflow import compile_run
from toolkit.config.load import load
from toolkit.run.parameters import read
from toolkit.run.preparation import initial_controls

FOLDER = Path(__file__).parents[1] / "golden" / "conformance"
KEPT = [case for case in CASES if not case.core and not case.expect.nothing and "argo" not in case.exempt]


@cache
def plain() -> dict[str, Any]:
    """The spec of a Workflow with one step, which has no settings of its own."""
    spec: dict[str, Any] = cases.run([cases.task("only")]).workflow["spec"]
    return spec


def otherwise(found: Any, usual: Any) -> Any:
    """What of ``found`` is not as usual; a list is taken whole."""
    if not isinstance(found, dict) or not isinstance(usual, dict):
        return found
    changed = {key: otherwise(value, usual.get(key)) for key, value in found.items() if value != usual.get(key)}
    return {**changed, **{key: "(none)" for key in usual if key not in found}}


def kept_text(spec: Mapping[str, Any]) -> str:
    """A Workflow's spec as it is kept."""
    [usual] = [one for one in plain()["templates"] if "container" in one]
    templates = [otherwise(one, usual) if "container" in one else one for one in spec["templates"]]
    text: str = yaml.safe_dump(
        {**otherwise(spec, plain()), "templates": templates}, sort_keys=False, width=130, allow_unicode=True
    )
    return text


@pytest.mark.parametrize("case", KEPT, ids=lambda case: case.name)
def test_what_a_cluster_would_be_given_is_as_it_was(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in case.environ.items():
        monkeypatch.setenv(name, value)
    project = LocalProject(tmp_path)
    for name, text in case.project().items():
        project.write(name, text)
    config = load(None, tmp_path).config
    plan = project.plan(case.pipeline)
    given = list(case.arguments)
    options = [given[at + 1] for at, word in enumerate(given) if word == "--param"]
    file = next((tmp_path / given[at + 1] for at, word in enumerate(given) if word == "-p"), None)
    parameters = read(file, options, case.environ)
    submission = cases.submission(parameters=parameters)
    submission = replace(submission, controls=initial_controls(plan, parameters)[1])
    found = kept_text(compile_run(plan, config, submission).workflow["spec"])
    kept = FOLDER / f"{case.name}.yaml"
    if os.environ.get("TOOLKIT_REGENERATE") == "1":
        assert not os.environ.get("CI"), "golden files are written by a person, who looks at what changed"
        FOLDER.mkdir(exist_ok=True)
        kept.write_text(found, encoding="utf-8")
    assert found == kept.read_text(encoding="utf-8"), "TOOLKIT_REGENERATE=1 writes it anew"


def test_no_file_is_kept_that_nothing_makes() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {case.name for case in KEPT}
