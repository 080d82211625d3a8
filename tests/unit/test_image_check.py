"""The runtime compares the image that it finds itself in with the one that the run has resolved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolkit.backends.process import MAIN
from toolkit.build.image.build_record import BuiltImage
from toolkit.runtime.shared.protocol import FAULT, IMAGE_VARIABLE, PROTOCOL
from toolkit.runtime.step.image_check import WrongImage, check_image

CODE, ENVIRONMENT = "c0de" * 16, "sha256:" + "e" * 64


def image(**changed: Any) -> BuiltImage:
    whole = BuiltImage("app:1", "sha256:1", "sha256:2", ENVIRONMENT, "", changed=False, id="sha256:3", content=CODE)
    return replace(whole, **changed)


@pytest.fixture
def id_file(tmp_path: Path) -> Path:
    file = tmp_path / "image.json"
    file.write_text(json.dumps({"protocol": PROTOCOL, "code": CODE, "environment": ENVIRONMENT}))
    return file


@pytest.mark.parametrize("known", [{}, {"content": ""}, {"content": "", "environment": ""}])
def test_the_runs_image_is_accepted_as_far_as_its_client_knew_it(id_file: Path, known: dict[str, str]) -> None:
    check_image(image(**known).expectation, str(id_file))


@pytest.mark.parametrize(
    ("key", "changed"), [("code", {"content": "0" * 64}), ("environment", {"environment": "sha256:0"})]
)
def test_another_code_and_another_environment_are_named(id_file: Path, key: str, changed: dict[str, str]) -> None:
    with pytest.raises(WrongImage, match=rf"app:1 had the {key} .*, and here it is .*`toolkit retry`") as refused:
        check_image(image(**changed).expectation, str(id_file))
    message = str(refused.value)
    assert "\n" not in message and next(iter(changed.values()))[:12] in message


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_an_image_without_an_id_file_is_another_one(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "image.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(WrongImage, match="here it is none"):
        check_image(image().expectation, str(file))


def test_a_runtime_that_is_called_in_another_image_ends_as_a_fault_before_it_reads_a_plan() -> None:
    # Here is no image at all.
    done = subprocess.run(
        [sys.executable, str(MAIN), str(PROTOCOL), "run-1", "step", "1"],
        env={**os.environ, IMAGE_VARIABLE: image().expectation},
        capture_output=True,
        text=True,
    )
    assert done.returncode == FAULT
    assert done.stderr.startswith("toolkit runtime: this container's image is not the one that the run began with")
