"""The Compose file of the example is the one that is kept here, from whichever form of the pipeline.

TOOLKIT_REGENERATE=1 writes it again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.examples import GETTING_STARTED
from toolkit.backends import process
from toolkit.build.image.build_record import BuiltImage
from toolkit.config.load import load
from toolkit.plan.planner import plan
from toolkit.run import compose, describe
from toolkit.run.reference import parse

GOLDEN = Path(__file__).parent / "compose-getting-started.yaml"
IMAGE = BuiltImage(
    "image_to_use:TAG",
    "sha256:CONFIG",
    "sha256:LAYER",
    "sha256:ENV",
    "sha256:IDENTITY",
    False,
    id="sha256:ID",
    content="CODE",
)


@pytest.mark.parametrize("form", ["sdk.py", "driver.py", "pipeline.yaml"])
def test_the_file_is_as_it_was(tmp_path: Path, form: str) -> None:
    # A copy: a project that is worked on gets a private folder.
    folder = shutil.copytree(GETTING_STARTED, tmp_path / "project", ignore=shutil.ignore_patterns(".toolkit", ".env"))
    project = load(None, folder)
    reference = parse(form, folder)
    ask = process.process_describer(project, process.environment(project, {}, {}))
    pipeline = describe.describe(project, reference, ask)
    made = plan(pipeline, project.config, reference.import_roots(project))
    run_id = compose.run_id_of(made, {})
    text = compose.render_compose_file(project, made, run_id, {None: IMAGE}, 1000).replace(run_id, "compose-RUN")
    if os.environ.get("TOOLKIT_REGENERATE") == "1":
        assert not os.environ.get("CI"), "golden files are written by a person, who looks at what changed"
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
