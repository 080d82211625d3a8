"""The code layer is the same from any checkout, and hashes are remembered without ever being wrong."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.build.code.files import project_files
from toolkit.build.code.hashes import RACY_NS, FileHashes
from toolkit.build.code.layer import (
    MTIME,
    CodeLayer,
    LayerEntry,
    Tar,
    code_digest,
    runtime_entries,
    user_entries,
    write_code_layer,
)
from toolkit.errors import BadInput, ChangedFile, VanishedFile

ENVIRONMENT = "sha256:" + "0" * 64


def checkout(root: Path, umask: int, mtime: int) -> Path:
    before = os.umask(umask)
    try:
        (root / "src" / "empty").mkdir(parents=True)
        (root / "src" / "app.py").write_text("print(1)\n")
        (root / "src" / ("long" * 60)).write_text("a name above what a plain tar header holds")
        (root / "Ünï.txt").write_text("x")
        (root / "link").symlink_to("src/app.py")
        script = root / "run.sh"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o777 & ~umask)
    finally:
        os.umask(before)
    for path in [*root.rglob("*"), root]:
        os.utime(path, (mtime, mtime), follow_symlinks=False)
    return root


def layer(root: Path, state: Path) -> CodeLayer:
    state.mkdir(parents=True, exist_ok=True)
    hashes = FileHashes(state / "hashes.json")
    entries = [*user_entries(project_files(root), hashes), *runtime_entries(hashes)]
    hashes.save()
    return write_code_layer(entries, ENVIRONMENT, state / "code.tar")


def test_two_checkouts_of_other_place_time_and_umask_give_the_same_bytes(tmp_path: Path) -> None:
    one = layer(checkout(tmp_path / "one", 0o022, 1_000_000_000), tmp_path / "state1")
    two = layer(checkout(tmp_path / "other" / "place", 0o077, 1_700_000_000), tmp_path / "state2")
    assert one.digest == two.digest
    assert one.file.read_bytes() == two.file.read_bytes()
    assert one.size == one.file.stat().st_size


def test_what_is_in_it(tmp_path: Path) -> None:
    made = layer(checkout(tmp_path / "one", 0o022, 1_000_000_000), tmp_path / "state")
    with tarfile.open(made.file) as tar:
        members = {member.name: member for member in tar}
        identity = json.loads(tar.extractfile("opt/toolkit/image.json").read())  # type: ignore[union-attr]
    assert {name: f"{members[name].mode:o}" for name in members if name.startswith("workspace")} == {
        "workspace": "777",
        "workspace/link": "777",
        "workspace/run.sh": "777",
        "workspace/src": "777",
        "workspace/src/app.py": "666",
        "workspace/src/empty": "777",
        "workspace/src/" + "long" * 60: "666",
        "workspace/Ünï.txt": "666",
    }
    assert members["workspace/link"].linkname == "src/app.py"
    assert "opt" not in members
    assert members["opt/toolkit"].mode == 0o755
    assert members["opt/toolkit/runtime/shared/protocol.py"].mode == 0o644
    assert members["opt/toolkit/sdk/toolkit/__init__.py"].mode == 0o644
    assert not [name for name in members if name.startswith("opt/toolkit/sdk/toolkit/build")]
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members.values()} == {(0, 0, "", "")}
    assert len({member.mtime for member in members.values()}) == 1
    assert list(members) == sorted(members, key=str.encode)
    assert identity["environment"] == ENVIRONMENT
    assert sorted(identity) == ["code", "environment", "protocol"]


@pytest.mark.parametrize("change", ["content", "mode", "name", "link"])
def test_every_change_changes_the_digest(tmp_path: Path, change: str) -> None:
    root = checkout(tmp_path / "one", 0o022, 1_000_000_000)
    before = layer(root, tmp_path / "state").digest
    if change == "content":
        (root / "src" / "app.py").write_text("print(2)\n")
    elif change == "mode":
        (root / "src" / "app.py").chmod(0o755)
    elif change == "name":
        (root / "src" / "app.py").rename(root / "src" / "bpp.py")
    else:
        (root / "link").unlink()
        (root / "link").symlink_to("run.sh")
    assert layer(root, tmp_path / "state").digest != before


def test_a_hash_is_remembered_by_the_files_times_and_never_for_one_that_just_changed(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("old")
    store = tmp_path / "hashes.json"
    fresh = FileHashes(store)
    (found,) = project_files(tmp_path)
    digest = fresh.of(found)
    fresh.save()
    assert not store.exists() or json.loads(store.read_bytes())["files"] == {}

    stamp = (found.stamp[0] - 2 * RACY_NS, found.stamp[1] - 2 * RACY_NS, found.stamp[2])
    settled = type(found)(found.path, "file", found.source, size=found.size, stamp=stamp)
    old = FileHashes(store)
    assert old.of(settled) == digest
    old.save()
    file.unlink()  # a hash that is believed is not read again
    assert FileHashes(store).of(settled) == digest
    moved = type(found)(found.path, "file", found.source, size=found.size, stamp=(*stamp[:2], stamp[2] + 1))
    with pytest.raises(VanishedFile):
        FileHashes(store).of(moved)


def test_a_store_that_is_broken_is_not_believed(tmp_path: Path) -> None:
    for content in (b"", b"{", b"[]", b'{"version": 0}', b'{"version": 1, "files": []}'):
        (tmp_path / "hashes.json").write_bytes(content)
        file = tmp_path / "a"
        file.write_text("a")
        found = next(each for each in project_files(tmp_path) if each.path == "a")
        assert FileHashes(tmp_path / "hashes.json").of(found).startswith("ca978112")


def test_a_file_that_changes_while_the_layer_is_written_is_named(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "app.py").write_text("one")
    entries = user_entries(project_files(root), FileHashes(tmp_path / "hashes.json"))
    (root / "app.py").write_text("two")
    with pytest.raises(BadInput, match="changed while"):
        write_code_layer(entries, ENVIRONMENT, tmp_path / "code.tar")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "app.py").write_text("one")
    files = project_files(root)
    (root / "app.py").unlink()
    with pytest.raises(VanishedFile, match=r"app\.py: it vanished while it was read"):
        user_entries(files, FileHashes(tmp_path / "hashes.json"))


def test_the_digest_does_not_depend_on_the_order_of_the_entries(tmp_path: Path) -> None:
    root = checkout(tmp_path / "one", 0o022, 1_000_000_000)
    entries = user_entries(project_files(root), FileHashes(tmp_path / "hashes.json"))
    assert code_digest(entries) == code_digest(entries[::-1])


def test_a_file_of_another_size_than_was_seen_is_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("one")
    files = project_files(tmp_path)
    for content in ("longer", "s"):
        (tmp_path / "app.py").write_text(content)
        with pytest.raises(ChangedFile, match=r"app\.py: it changed while it was read"):
            user_entries(files, FileHashes(tmp_path.parent / "hashes.json"))


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=130),
                  st.sampled_from([0o666, 0o755, 0o777]), st.binary(max_size=600)),
        max_size=6, unique_by=lambda one: one[0],
    )
)  # fmt: skip
def test_the_headers_are_those_of_tarfile(files: list[tuple[str, int, bytes]]) -> None:
    entries = [LayerEntry("/a", "dir", 0o777)]
    entries += [LayerEntry(f"/a/{name}", "file", mode, content=content) for name, mode, content in files]
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
        for entry in sorted(entries, key=lambda one: one.path.encode()):
            info = tarfile.TarInfo(entry.path[1:])
            info.mtime, info.mode = MTIME, entry.mode
            info.type = tarfile.DIRTYPE if entry.kind == "dir" else tarfile.REGTYPE
            info.size = len(entry.content or b"")
            tar.addfile(info, io.BytesIO(entry.content or b""))
    made = Tar(tuple(entries))
    content = b"".join(made.read())
    assert content == expected.getvalue()[: len(content)]
    assert len(content) == made.size
    assert not expected.getvalue()[len(content) :].strip(b"\0")
