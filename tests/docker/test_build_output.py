"""An image that is written to a file or a folder is the image that was built, for an engine and for a containerd."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containerd import containerd
from tests.support.engine_builds import Bench
from tests.support.scratch import Scratch

pytestmark = pytest.mark.docker


@pytest.fixture
def scratch(bench: Bench) -> Scratch:
    scratch = Scratch(bench.root, {"TOOLKIT_REGISTRY": None, "CONTAINERD_ADDRESS": None, "KUBECONFIG": "/dev/null"})
    scratch.write({"toolkit.yaml": f"executor: {{config: {{image: {bench.repository}}}}}\n"})
    return scratch


def write(scratch: Scratch, *options: str) -> str:
    result = scratch.toolkit("build", *options)
    assert result.code == 0 and f"wrote {result.out.strip()} to " in result.err, result.err
    return result.out.strip()


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_an_archive_in_the_project_is_the_same_image_for_the_engine_and_no_code(
    bench: Bench, scratch: Scratch, tmp_path: Path
) -> None:
    # Given an environment of one small layer, which no other image has,
    (tmp_path / "unique").write_bytes(os.urandom(300_000))
    with tarfile.open(tmp_path / "base.tar", "w") as tar:
        tar.add(tmp_path / "unique", "unique")
    base = f"{bench.repository}:base"
    subprocess.run(["docker", "import", str(tmp_path / "base.tar"), base], check=True, stdout=subprocess.DEVNULL)
    scratch.write({"toolkit.yaml": f"executor: {{config: {{image: '{base}'}}}}\n"})
    # when the image is written into the project, twice,
    archive = bench.root / "image.tar"
    reference = write(scratch, "--output", "image.tar")
    first = sha256(archive)
    again = write(scratch, "--output", "image.tar", "--explain")
    # then that changes no image, and the bytes are the same.
    assert (again, sha256(archive)) == (reference, first)
    assert [path.name for path in (bench.root / ".toolkit/build").glob("output-*")] == []
    # The engine, which may be older than OCI's layout, loads the image that was built.
    built = bench.raw.image(reference)
    assert built is not None
    for name in (reference, base):
        bench.raw.call("DELETE", f"/images/{name}?force=true")
    assert bench.raw.image(reference) is None
    subprocess.run(["docker", "load", "--quiet", "--input", str(archive)], check=True, stdout=subprocess.DEVNULL)
    loaded = bench.raw.image(reference)
    assert loaded is not None and loaded["Id"] == built["Id"]
    subprocess.run(["docker", "save", reference], check=True, stdout=subprocess.DEVNULL)
    # Once it is edited it is a file like others, which is not replaced.
    archive.write_bytes(b"mine")
    refused = scratch.toolkit("build", "--output", "image.tar")
    assert (refused.code, archive.read_bytes()) == (2, b"mine") and "a file of the project's code" in refused.err


@pytest.mark.full("a containerd of its own is started, and a whole image is read twice: 10 s")
def test_an_archive_and_a_folder_are_whole_for_a_containerd_and_a_folder_gets_what_it_lacks(
    bench: Bench, scratch: Scratch, node: str, tmp_path: Path
) -> None:
    reference = write(scratch, "--output", str(tmp_path / "image.tar"))
    folder = tmp_path / "layout"
    assert write(scratch, "--output", f"{folder}/") == reference
    before = {path: path.stat().st_ino for path in folder.glob("blobs/*/*")}

    ctr = ["ctr", "--address", node, "--namespace", "k8s.io"]
    subprocess.run([*ctr, "images", "import", str(tmp_path / "image.tar")], check=True, stdout=subprocess.DEVNULL)
    name = f"docker.io/library/{reference}"
    row = subprocess.run([*ctr, "images", "check", f'name=="{name}"'], check=True, capture_output=True, text=True)
    assert row.stdout.splitlines()[1].split()[3] == "complete"
    # The folder has the same manifest, and a node that has the archive's layers gets nothing but the code.
    index = json.loads((folder / "index.json").read_bytes())
    assert index["manifests"][0]["digest"] == row.stdout.splitlines()[1].split()[2]
    loaded = scratch.toolkit("build", "--load", "--node", node)
    assert "(sent 1 of" in loaded.err and "exported" not in loaded.err

    # After a changed line the folder gets that layer, the manifest and the config, and keeps the first image.
    scratch.write({"app.py": "VALUE = 'other'\n"})
    result = scratch.toolkit("build", "--output", str(folder))
    assert result.code == 0 and "(1 of " in result.err and "exported" not in result.err
    after = {path: path.stat().st_ino for path in folder.glob("blobs/*/*")}
    assert before.items() <= after.items() and len(after) == len(before) + 3
    assert len(json.loads((folder / "index.json").read_bytes())["manifests"]) == 2
    # It is what its names say, and readable as a whole.
    assert all(sha256(path) == path.name for path in after)
    with tarfile.open(tmp_path / "second.tar", "w") as tar:
        tar.add(folder, ".")
    subprocess.run([*ctr, "images", "import", str(tmp_path / "second.tar")], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[str]:
    if shutil.which("containerd") is None or shutil.which("ctr") is None or os.geteuid() != 0:
        pytest.skip("a containerd of the test's own needs containerd, ctr and root")
    with containerd(tmp_path / "containerd") as address:
        yield address
