"""What a refusal of the Docker engine means to the user."""

from __future__ import annotations

from types import SimpleNamespace

import docker.errors
import pytest

from toolkit.backends.docker.refusals import explain_refusal
from toolkit.errors import BadInput, Infrastructure, ToolkitError


@pytest.mark.parametrize(
    ("steps_have_run", "kind", "remedy"), [(False, BadInput, "toolkit build"), (True, Infrastructure, "toolkit retry")]
)
def test_an_image_that_is_gone_is_the_engines_fault_once_steps_have_run(
    steps_have_run: bool, kind: type[ToolkitError], remedy: str
) -> None:
    response = SimpleNamespace(status_code=404)
    refusal = docker.errors.ImageNotFound("404", response, "No such image: sha256:1")
    explained = explain_refusal(refusal, "app:1", steps_have_run)
    assert type(explained) is kind and "the image app:1 " in str(explained) and remedy in str(explained)
