"""An engine that lacks a layer never ends up with half an image, and gets the whole one where it can be had."""

from __future__ import annotations

import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit.build.code.layer import LayerEntry, write_code_layer
from toolkit.build.image.archive import compose_image
from toolkit.build.image.engine_images import has_image, load_image, load_members, read_environment_image, saved_image
from toolkit.engine import EngineApi
from toolkit.errors import Infrastructure

pytestmark = pytest.mark.docker


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[str]:
    """An image of which no layer is shared with any other, so that removing it removes its layers (BuildKit would keep them)."""
    name = f"toolkit-test-{uuid.uuid4().hex[:12]}:environment"
    (tmp_path / "unique").write_text(name)
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(tmp_path / "unique", "unique")
    command = ["docker", "import", "-c", "ENV A=b", str(tmp_path / "root.tar"), name]
    subprocess.run(command, check=True, capture_output=True)
    yield name
    raw = EngineApi()
    for tag in ("environment", "code"):
        raw.call("DELETE", f"/images/{name.split(':')[0]}:{tag}?force=true")


def test_an_engine_without_the_layers_refuses_the_code_alone_and_takes_the_whole(
    environment: str, tmp_path: Path
) -> None:
    raw = EngineApi()
    reference = environment.replace(":environment", ":code")
    image = raw.image(environment)
    assert image is not None
    described = read_environment_image(raw, environment, image, tmp_path)
    code = write_code_layer([LayerEntry("/workspace", "dir", 0o777)], described.config_digest, tmp_path / "code.tar")
    composed = compose_image(described, code)

    with saved_image(raw, environment, tmp_path) as (config, layers):
        assert config == described.config_digest
        raw.call("DELETE", f"/images/{environment}?force=true")

        refusal = load_members(raw, composed, reference, described.layers)
        assert refusal
        assert raw.image(reference) is None

        with pytest.raises(Infrastructure):
            load_image(raw, composed, described, environment, reference, tmp_path, print)
        assert raw.image(reference) is None

        assert load_members(raw, composed, reference, layers) is None
    assert has_image(raw, reference, composed.identity, composed.diff_ids)
    found = raw.image(reference)
    assert found is not None and found["Id"] == composed.config_digest and "A=b" in found["Config"]["Env"]


def test_a_load_that_is_broken_off_leaves_no_image(environment: str, tmp_path: Path) -> None:
    raw = EngineApi()
    reference = environment.replace(":environment", ":code")
    image = raw.image(environment)
    assert image is not None
    described = read_environment_image(raw, environment, image, tmp_path)
    code = write_code_layer([LayerEntry("/workspace", "dir", 0o777)], described.config_digest, tmp_path / "code.tar")
    composed = compose_image(described, code)
    code.file.write_bytes(b"")  # it is gone when the engine is sent it
    with pytest.raises(Infrastructure, match="became shorter while it was read"):
        load_image(raw, composed, described, environment, reference, tmp_path, print)
    assert raw.image(reference) is None
