"""An image as an OCI layout: the same bytes each time, nothing half written, nothing of others lost."""

from __future__ import annotations

import errno
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.support.builds import Builds
from tests.support.registry import digest_of
from toolkit.build.delivery import layout
from toolkit.build.delivery.layout import check_output, write_layout
from toolkit.config.load import load
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared.whole_files import WholeFile

NOTES = {"org.opencontainers.image.version": "1.2"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    (root / "toolkit.yaml").write_text("{}\n")
    return load(root / "toolkit.yaml", root, {})


@pytest.fixture
def builds(tmp_path: Path) -> Builds:
    (tmp_path / "made").mkdir()
    return Builds(tmp_path / "made")


def write(project: Project, builds: Builds, to: Path | str, line: str = "one") -> tuple[str, int]:
    """What was said, and how often the engine exported the image."""
    contents, engine = builds.build(line)
    said: list[str] = []
    write_layout(project, check_output(project, str(to)), contents, lambda: NOTES, said.append)
    return said[-1], engine.saves


def test_an_archive_holds_the_image_in_both_layouts_and_is_the_same_bytes_each_time(
    project: Project, builds: Builds, tmp_path: Path
) -> None:
    for name in ("a.tar", "b.tar"):
        assert write(project, builds, tmp_path / name)[1] == 1
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert all(digest_of(content)[7:] == name[13:] for name, content in files.items() if name.startswith("blobs/"))
    (row,) = json.loads(files["index.json"])["manifests"]
    assert row["annotations"] == {
        "io.containerd.image.name": "docker.io/library/name:tag",
        "org.opencontainers.image.ref.name": "tag",
    }
    manifest = json.loads(files["blobs/sha256/" + row["digest"][7:]])
    (docker,) = json.loads(files["manifest.json"])
    assert manifest["annotations"] == NOTES and docker["RepoTags"] == ["name:tag"]
    assert docker["Layers"] == ["blobs/" + layer["digest"].replace(":", "/") for layer in manifest["layers"]]
    assert set(docker["Layers"]) <= set(files) and len(files) == 8


def test_a_folder_gets_what_it_lacks_and_keeps_the_images_of_others(
    project: Project, builds: Builds, tmp_path: Path
) -> None:
    folder = tmp_path / "layout"
    said, saves = write(project, builds, f"{folder}/")
    assert "(3 of 3 layers, " in said and saves == 1
    assert (said, saves) != write(project, builds, folder) and "there already" in write(project, builds, folder)[0]
    index = json.loads((folder / "index.json").read_bytes())
    other = {"digest": "sha256:1", "size": 1, "annotations": {"org.opencontainers.image.ref.name": "other"}}
    (folder / "index.json").write_text(json.dumps({**index, "manifests": [other, *index["manifests"]]}))
    said, saves = write(project, builds, folder, "two")
    assert "(1 of 3 layers, " in said and saves == 0
    rows = json.loads((folder / "index.json").read_bytes())["manifests"]
    # The name was given to another image.
    assert rows[0] == other and len(rows) == 2 and rows[1]["digest"] != index["manifests"][0]["digest"]


def test_a_full_disk_is_one_sentence_and_what_was_there_stays(
    project: Project, builds: Builds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(WholeFile):
        """A disk that has no space (a stand-in, since no real one is as small)."""

        def __init__(self, path: str, temporary: str | None = None) -> None:
            super().__init__(path, temporary)
            self.write = self._refuse  # type: ignore[assignment]

        def _refuse(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    inside = project.root / "image.tar"
    write(project, builds, inside)
    before = inside.read_bytes()
    monkeypatch.setattr(layout, "WholeFile", Full)
    for place in (inside, tmp_path / "image.tar", f"{tmp_path}/layout/"):
        with pytest.raises(Infrastructure, match="no space left to write the image to "):
            write(project, builds, place, "two")
    assert inside.read_bytes() == before
    left = {path.name for path in tmp_path.rglob("*") if path.name.endswith(".tmp") or path.name.startswith("output-")}
    assert left == set() and not (tmp_path / "image.tar").exists() and not (tmp_path / "layout/index.json").exists()


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_built(
    project: Project, tmp_path: Path
) -> None:
    (project.root / "app.py").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/oci-layout").write_text("{}")
    (tmp_path / "damaged/index.json").write_text("[]")
    os.mkfifo(tmp_path / "pipe")
    refused = {
        "-": "standard output has the image's reference",
        "": "names no file",
        str(tmp_path / "none/image.tar"): "does not exist: create it first",
        str(tmp_path / "pipe"): "is no file",
        str(project.root / "app.py"): "a file of the project's code",
        str(project.root): "would be code of the next image",
        f"{project.root}/images/": "would be code of the next image",
        str(tmp_path / "full"): "has files in it and is no OCI layout",
        str(tmp_path / "damaged"): "is no index of an OCI layout",
    }
    for text, words in refused.items():
        with pytest.raises(BadInput, match=words):
            check_output(project, text)
    (project.root / ".dockerignore").write_text("images\n")
    check_output(project, f"{project.root}/images/")
    # A link stays a link, and a project beside a folder of a longer name is not above it.
    (tmp_path / "link.tar").symlink_to(tmp_path / "target.tar")
    assert check_output(project, str(tmp_path / "link.tar")).place == (tmp_path / "target.tar").resolve()
    assert check_output(project, f"{project.root}-2.tar").in_project is None
    assert check_output(project, str(project.root / "..image.tar")).in_project == "..image.tar"


def test_an_image_that_is_named_by_a_registrys_digest_is_refused(
    project: Project, builds: Builds, tmp_path: Path
) -> None:
    contents, _ = builds.build("one")
    object.__setattr__(contents.image, "reference", f"host/name@{digest_of(b'')}")
    with pytest.raises(BadInput, match="name it by a tag"):
        write_layout(project, check_output(project, str(tmp_path / "a.tar")), contents, dict, print)
    assert not (tmp_path / "a.tar").exists()
