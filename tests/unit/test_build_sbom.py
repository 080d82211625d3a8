"""The bill of materials: what is in it, that it is valid and always the same, and that a registry keeps it beside the image."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.support.builds import Builds, write_project
from tests.support.registry import StandIn, digest_of
from toolkit.build.code.files import project_files
from toolkit.build.delivery.referrers import attach
from toolkit.build.delivery.registry import RemoteRepository, push_image
from toolkit.build.image.materials import check_destination, write_materials
from toolkit.build.inventory.lock_hashes import LockedFile, files_of, locked_files
from toolkit.build.inventory.packages import Inventory, Package
from toolkit.build.inventory.sbom import MEDIA_TYPE, Subject, bill_of_materials
from toolkit.config.settings import Build, CatalogStore, Config, Executor, RunLogStore, Secrets
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project

A, B, C = "a" * 64, "b" * 64, "c" * 64
LINUX = Package(
    "python", "Demo_Pkg", "1.0", tags=("cp311-cp311-manylinux2014_x86_64", "cp311-cp311-manylinux_2_17_x86_64")
)
WHEELS = (
    "demo_pkg-1.0-cp311-cp311-macosx_11_0_arm64.whl",
    "demo_pkg-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
)

UV = f"""
[[package]]
name = "demo-pkg"
version = "1.0"
sdist = {{ url = "https://u:p@host/demo_pkg-1.0.tar.gz", hash = "sha256:{A}", size = 1 }}
wheels = [
    {{ url = "https://host/{WHEELS[0]}", hash = "sha256:{B}" }},
    {{ url = "https://host/{WHEELS[1]}", hash = "sha256:{C}" }},
]
[[package]]
name = "no-hash"
version = "2"
source = {{ editable = "." }}
"""
PYLOCK = f"""
lock-version = "1.0"
[[packages]]
name = "demo-pkg"
version = "1.0"
[[packages.wheels]]
name = "{WHEELS[0]}"
hashes = {{ sha256 = "{B}" }}
[[packages.wheels]]
url = "https://host/{WHEELS[1]}"
hashes = {{ sha256 = "{C}", md5 = "x" }}
"""
HASHED = f"six==1\ndemo.pkg[extra] == 1.0 ; python_version > '3' \\\n  --hash=sha256:{A} \\\n  --hash=sha256:{C}\n"


@pytest.mark.parametrize(("name", "content"), [("uv.lock", UV), ("pylock.toml", PYLOCK)])
def test_the_wheel_that_was_installed_is_found_in_the_lock_by_its_tags(name: str, content: str) -> None:
    locked = locked_files({f"sub/{name}": content.encode()})
    (found,) = files_of(LINUX, locked)
    assert found == LockedFile(WHEELS[1], f"https://host/{WHEELS[1]}", C)
    assert "p@" not in str(locked)


def test_hashes_without_names_are_those_that_are_allowed() -> None:
    locked = locked_files(
        {"requirements.txt": HASHED.encode(), "broken.lock": b"[[package", "other.txt": b"\xff--hash"}
    )
    assert {one.sha256 for one in files_of(LINUX, locked)} == {A, C}
    assert files_of(Package("python", "six", "1"), locked) == ()


def test_a_wheel_of_the_project_has_its_own_hash() -> None:
    locked = locked_files({f"wheels/{WHEELS[1]}": b"content"})
    assert [one.sha256 for one in files_of(LINUX, locked)] == [hashlib.sha256(b"content").hexdigest()]


SUBJECT = Subject("shop", "5" * 64, "python:3.12-slim", "sha256:" + A, {"dev.toolkit.config": "sha256:" + B})
INVENTORY = Inventory(
    "3.12.1",
    "/opt/venv/bin/python3",
    (
        LINUX,
        Package("python", "six", "1", licenses=("MIT",), requires=()),
        Package("python", "six", "1", installer="pip", imported=False),
        Package("python", "app", "2", licenses=("Apache-2.0 OR MIT",), requires=("six", "missing")),
        Package("python", "odd", "3", licenses=("MIT License", "Own Licence"), source="https://g/x.git", commit="abc"),
        Package("python", "direct", "3", source="https://h/d.whl", sha256=C),
        Package(
            "conda",
            "zlib",
            "1.3",
            source="https://c/conda-forge/linux-64/zlib.conda",
            sha256=A,
            build="h",
            architecture="linux-64",
        ),
        Package("deb", "libc6", "1:2.36+x", architecture="amd64"),
    ),
    {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian"},
    None,
)


def bill(inventory: Inventory = INVENTORY) -> dict[str, Any]:
    content = bill_of_materials(SUBJECT, inventory, locked_files({"uv.lock": UV.encode()}))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode()) is None
    return dict(json.loads(content))


def test_a_bill_is_valid_and_has_what_is_installed() -> None:
    document = bill()
    by_name = {one["name"]: one for one in document["components"]}
    assert by_name["libc6"]["purl"] == "pkg:deb/debian/libc6@1:2.36%2Bx?arch=amd64&distro=debian-12"
    assert by_name["Demo_Pkg"]["hashes"] == [{"alg": "SHA-256", "content": C}]
    assert by_name["zlib"]["purl"] == "pkg:conda/zlib@1.3?build=h&channel=conda-forge&subdir=linux-64"
    assert by_name["odd"]["purl"] == "pkg:pypi/odd@3?vcs_url=git%2Bhttps://g/x.git%40abc"
    assert by_name["app"]["licenses"] == [{"expression": "Apache-2.0 OR MIT"}]
    assert by_name["python"]["purl"].startswith("pkg:oci/python@sha256")
    assert [one["name"] for one in document["components"]].count("six") == 1
    needs = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    assert needs["pkg:pypi/app@2"] == ["pkg:pypi/six@1"]
    assert "pkg:pypi/six@1" not in needs["project"] and "operating-system" in needs["project"]
    assert document["metadata"]["component"]["name"] == "shop"


def test_a_project_that_is_a_distribution_is_the_root() -> None:
    own = Package("python", "shop-core", "0.3", installer="toolkit", requires=("six",))
    document = bill(Inventory("3.12.1", "/p", (own, Package("python", "six", "1")), {}, None))
    assert document["metadata"]["component"]["purl"] == "pkg:pypi/shop-core@0.3"
    assert "shop-core" not in {one["name"] for one in document["components"]}


def test_a_bill_has_neither_a_time_nor_a_random_number(tmp_path: Path) -> None:
    document = bill()
    assert "serialNumber" not in document and "timestamp" not in document["metadata"]
    script = (
        "import json, sys; from toolkit.build.inventory import packages, sbom; subject, found = json.load(sys.stdin); "
        "print(sbom.bill_of_materials(sbom.Subject(*subject), packages.Inventory.from_json(found), {}).decode())"
    )
    given = json.dumps([[*vars(SUBJECT).values()], INVENTORY.to_json()]).encode()
    made = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PATH": "/bin"},
            input=given,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1


# --- the file -----------------------------------------------------------------------------------------------------------


def test_a_bill_in_the_project_is_no_code_and_a_file_that_would_be_is_refused(tmp_path: Path) -> None:
    project = Project(tmp_path, tmp_path, Config(Executor(), RunLogStore(), CatalogStore(), Secrets(), Build()))
    write_project(
        tmp_path,
        {"app.py": "", "fixture.cdx.json": '{"bomFormat": "CycloneDX"}', ".dockerignore": "out\n", "out/x": ""},
    )
    for name in ("sbom.json", "a.cdx.json"):
        file = check_destination(project, str(tmp_path / name))
        write_materials(file, bill_of_materials(SUBJECT, INVENTORY, {}))
    assert [one.path for one in project_files(tmp_path)] == [".dockerignore", "app.py", "fixture.cdx.json"]
    check_destination(project, str(tmp_path / "out" / "anything.json"))
    check_destination(project, str(tmp_path.parent / "anything.json"))
    for text, words in (
        ("-", "name a file"),
        (str(tmp_path), "is a folder"),
        (str(tmp_path / "no" / "x"), "does not exist"),
        (str(tmp_path / "materials.json"), "name it materials.cdx.json"),
    ):
        with pytest.raises(BadInput, match=words):
            check_destination(project, text)


def test_a_bill_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Infrastructure, match="cannot be written"):
        write_materials(Path("/proc/sbom.json"), b"{}")


# --- beside the image in a registry ---------------------------------------------------------------------------------------


@pytest.fixture
def pushed(stand_in: StandIn, tmp_path: Path) -> str:
    """The digest of an image that a registry has."""
    (tmp_path / "build").mkdir()
    contents, _ = Builds(tmp_path / "build").build("one")
    with RemoteRepository(stand_in.host, "team/name") as registry:
        return push_image(registry, "tag", contents, None, lambda sentence: None).digest


def attach_to(stand_in: StandIn, digest: str, content: bytes = b"{}\n") -> bool:
    with RemoteRepository(stand_in.host, "team/name") as registry:
        return attach(registry, digest, content, MEDIA_TYPE, "sbom.cdx.json")


@pytest.mark.parametrize("lists", [True, False])
def test_a_bill_is_attached_once_and_is_found_by_the_images_digest(stand_in: StandIn, pushed: str, lists: bool) -> None:
    stand_in.lists_referrers = lists
    assert attach_to(stand_in, pushed)
    before = dict(stand_in.manifests)
    assert not attach_to(stand_in, pushed) and stand_in.manifests == before
    tag = pushed.replace(":", "-")
    assert (("team/name", tag) in stand_in.manifests) is not lists
    (manifest,) = {body for body in before.values() if b'"subject"' in body}
    document = json.loads(manifest)
    assert document["artifactType"] == MEDIA_TYPE and document["subject"]["digest"] == pushed
    assert document["subject"]["size"] == len(before["team/name", pushed])
    assert stand_in.blobs["team/name", document["layers"][0]["digest"]] == b"{}\n"
    assert stand_in.blobs["team/name", document["config"]["digest"]] == b"{}"
    if not lists:
        (row,) = json.loads(before["team/name", tag])["manifests"]
        assert (row["digest"], row["artifactType"]) == (digest_of(manifest), MEDIA_TYPE)


def test_what_others_attached_stays(stand_in: StandIn, pushed: str) -> None:
    tag = pushed.replace(":", "-")
    theirs = {"mediaType": "x", "digest": "sha256:" + A, "size": 3, "artifactType": "signature"}
    stand_in.manifests["team/name", tag] = json.dumps({"schemaVersion": 2, "manifests": [theirs]}).encode()
    assert attach_to(stand_in, pushed) and attach_to(stand_in, pushed, b'{"another": 1}')
    rows = json.loads(stand_in.manifests["team/name", tag])["manifests"]
    assert rows[0] == theirs and len(rows) == 3


def test_a_push_that_was_broken_off_before_the_list_is_completed(stand_in: StandIn, pushed: str) -> None:
    assert attach_to(stand_in, pushed)
    tag = pushed.replace(":", "-")
    whole = stand_in.manifests.pop(("team/name", tag))
    assert attach_to(stand_in, pushed) and stand_in.manifests["team/name", tag] == whole
