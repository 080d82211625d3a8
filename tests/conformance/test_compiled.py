"""The Workflow of each conformance case that `task test` does not run on a cluster.

tests/golden/conformance/ has a file for each case: the Workflow's templates, and of each pod only what differs from a plain step's.
TOOLKIT_REGENERATE=1 writes the files again.
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
KEPT = [case for case in CASES if not case.core and not case.expect.no_run and "argo" not in case.exempt]


@cache
def plain() -> dict[str, Any]:
    """The spec of a Workflow with one step, which has no settings of its own."""
    spec: dict[str, Any] = cases.run([cases.task("only")]).workflow["spec"]
    return spec


def changes(actual: Any, plain_value: Any) -> Any:
    """The parts of ``actual`` that differ from ``plain_value``; a list is kept whole."""
    if not isinstance(actual, dict) or not isinstance(plain_value, dict):
        return actual
    changed = {
        key: changes(value, plain_value.get(key)) for key, value in actual.items() if value != plain_value.get(key)
    }
    return {**changed, **{key: "(none)" for key in plain_value if key not in actual}}


def kept_text(spec: Mapping[str, Any]) -> str:
    """A Workflow's spec as the golden file has it."""
    [plain_pod] = [template for template in plain()["templates"] if "container" in template]
    templates = [
        changes(template, plain_pod) if "container" in template else template for template in spec["templates"]
    ]
    text: str = yaml.safe_dump(
        {**changes(spec, plain()), "templates": templates}, sort_keys=False, width=130, allow_unicode=True
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
    arguments = list(case.arguments)
    patch = next((arguments[index + 1] for index, word in enumerate(arguments) if word == "--patch"), None)
    plan = project.plan(case.pipeline, patch)
    options = [arguments[index + 1] for index, word in enumerate(arguments) if word == "--param"]
    files = [tmp_path / arguments[index + 1] for index, word in enumerate(arguments) if word == "-p"]
    given = read(files, options, case.environ)
    submission = cases.submission(parameters=given.values, spellings=given.spellings)
    submission = replace(submission, controls=initial_controls(plan, given.values, given.spellings)[1])
    text = kept_text(compile_run(plan, config, submission).workflow["spec"])
    kept = FOLDER / f"{case.name}.yaml"
    if os.environ.get("TOOLKIT_REGENERATE") == "1":
        assert not os.environ.get("CI"), "golden files are written by a person, who reviews the changes"
        FOLDER.mkdir(exist_ok=True)
        kept.write_text(text, encoding="utf-8")
    assert text == kept.read_text(encoding="utf-8"), "TOOLKIT_REGENERATE=1 writes it again"


def test_no_file_is_kept_that_nothing_makes() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {case.name for case in KEPT}
