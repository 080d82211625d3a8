"""The look that knows the last one finds exactly what a look from nothing finds, whatever happened to the tree in between."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.build import credentials
from toolkit.build.code import index
from toolkit.build.code.files import COMPOSE_TOP, CodeFile, project_files, walk_of
from toolkit.build.code.grouping import grouped
from toolkit.build.code.hashes import FileContent, FileHashes, read_hash
from toolkit.build.code.index import Code, kept_lines, look_at
from toolkit.build.code.layer import LayerEntry, user_entries
from toolkit.build.code.own_outputs import Redirected
from toolkit.errors import BadInput

SHORT_NS = 12_000_000
"""Above one tick of the kernel's clock, by which files get their times. The real two seconds would make these tests long."""

_NAMES = (
    "a.py",
    "A.py",
    "b.txt",
    "c.yaml",
    ".env",
    "x",
    ".toolkit-fetched",
    ".dockerignore",
    "pyvenv.cfg",
    ".coverage",
    "id_rsa",
    "k.json",
)
_FOLDERS = ("", "d/", "d/e/", "D/", "d-e/", "x/", "d/x/", "d/.tox/", "d/.aws/")
_paths = st.builds(str.__add__, st.sampled_from(_FOLDERS), st.sampled_from(_NAMES))
KEY = b"-----BEGIN " + b"PRIVATE KEY-----\nbm90IGEga2V5\n"
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"
_contents = st.sampled_from([b"one", b"two", b"three", COMPOSE_TOP, _POINTER, KEY, KEY])
_ignores = st.sampled_from(
    [
        b"",
        b"*.txt\n",
        b"d\n",
        b"d\n!d/e/a.py\n",
        b"*\n!d/e\n",
        b"# only a comment\n",
        b"**/x\n",
        b"d/*\n!d/x",
        b"!d/.tox/e\n",
        b"!d\n",
        b"!**/k.json\n!d/.aws\n",
        b"!d/id_rsa\n!d/.aws/b.txt\n!x/**\n",
    ]
)
_edits = st.one_of(
    st.tuples(st.just("write"), _paths, _contents),
    st.tuples(st.just("write"), st.just(".dockerignore"), _ignores),
    st.tuples(st.just("link"), _paths, _paths),
    st.tuples(st.just("folder"), _paths, st.none()),
    st.tuples(st.just("delete"), st.sampled_from(["d", "d/e", "x"]), st.none()),
    st.tuples(st.just("rename"), st.sampled_from(["d", "d/e", "x"]), st.sampled_from(["d", "D", "x", "d/x"])),
    # These change what there is, by its number.
    st.tuples(st.just("write with the old times"), st.integers(0, 9), _contents),
    st.tuples(st.just("mode"), st.integers(0, 9), st.sampled_from([0o644, 0o755, 0o666])),
    st.tuples(st.just("link"), st.integers(0, 9), _paths),
    st.tuples(st.just("rename"), st.integers(0, 9), _paths),
    st.tuples(st.just("swap"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("folder"), st.integers(0, 9), st.none()),
    st.tuples(st.just("delete"), st.integers(0, 9), st.none()),
)


def place(root: Path, what: str | int) -> Path:
    """A path, or the file of this number."""
    if isinstance(what, str):
        return root / what
    there = sorted(path for path in root.rglob("*") if not path.is_dir())
    return there[what % len(there)] if there else root / "a.py"


def change(root: Path, kind: str, path: Path, value: object) -> None:
    """One edit; one that the tree as it is does not allow does nothing."""
    try:
        if kind.startswith("write"):
            assert isinstance(value, bytes)
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.stat() if path.exists() else None
            path.write_bytes(value)
            if before is not None and "times" in kind:
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        elif kind == "mode":
            assert isinstance(value, int)
            path.chmod(value)
        elif kind == "link":
            assert isinstance(value, str)
            path.unlink(missing_ok=True)
            path.symlink_to(root / value)
        elif kind == "rename":
            assert isinstance(value, str)
            path.rename(root / value)
        elif kind == "swap":
            assert isinstance(value, int)
            other = place(root, value)
            path.rename(root / "between")
            other.rename(path)
            (root / "between").rename(other)
        elif kind == "folder":
            path.unlink(missing_ok=True)
            path.mkdir(parents=True)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        pass


def look(root: Path, store: Path, said: list[str] | None = None) -> Code:
    return look_at(walk_of(root, warn=(said if said is not None else []).append), store)


def from_nothing(root: Path) -> tuple[list[LayerEntry], dict[str, int], list[str]]:
    """The entries, pointers and warnings of what knows no index."""
    said: list[str] = []
    hashes = FileHashes(Path("/nowhere/hashes.json"))
    return by_path(user_entries(project_files(root, warn=said.append), hashes)), hashes.pointers, said


def entries_of(code: Code) -> list[LayerEntry]:
    return list(grouped(code.folders, 0)[1].entries(code.root))


def by_path(entries: list[LayerEntry]) -> list[LayerEntry]:
    return sorted(entries, key=lambda entry: entry.path)


@pytest.fixture(autouse=True, scope="module")
def short_time() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "RACY_NS", SHORT_NS)
        yield


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.lists(_edits, min_size=1, max_size=4), st.booleans()), min_size=2, max_size=6))
def test_a_look_that_knows_the_last_one_finds_what_a_look_from_nothing_finds(
    rounds: list[tuple[list[tuple[str, str | int, object]], bool]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, store = Path(folder, "project"), Path(folder, "code.index")
        for number, name in enumerate(("a.py", "d/a.py", "d/b.txt", "d/e/a.py")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"n{number}\n")
        time.sleep(SHORT_NS / 1e9)
        for number, (edits, settles) in enumerate(rounds):
            for kind, what, value in edits:
                change(root, kind, place(root, what), value)
            if settles:
                time.sleep(SHORT_NS / 1e9)
            said: list[str] = []
            found = look(root, store, said)
            fresh = look(root, Path(folder, f"fresh-{number}"))
            assert (by_path(entries_of(found)), found.pointers, said) == from_nothing(root)
            assert (found.digest, found.lines()) == (fresh.digest, fresh.lines())


@pytest.fixture
def settled(tmp_path: Path) -> Path:
    """A project of some folders that was looked at when its files had come to rest."""
    root = tmp_path / "project"
    for folder in ("", "a", "a/b", "c"):
        (root / folder).mkdir(exist_ok=True)
        for name in ("one.py", "two.py"):
            (root / folder / name).write_text(folder + name)
    time.sleep(SHORT_NS / 1e9)
    look(root, tmp_path / "code.index")
    return root


def read_by(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that a look reads."""
    read: list[str] = []

    def read_one(file: CodeFile, *more: Any) -> FileContent:
        read.append(file.path)
        return read_hash(file, *more)

    monkeypatch.setattr(index, "read_hash", read_one)
    look(root, root.parent / "code.index")
    monkeypatch.undo()
    return sorted(read)


def test_only_what_changed_is_read(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_by(settled, monkeypatch) == []
    (settled / "a" / "b" / "two.py").write_text("changed")
    assert read_by(settled, monkeypatch) == ["a/b/two.py"]


def test_another_dockerignore_reads_only_what_it_brings_in(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (settled / ".dockerignore").write_text("a\n.dockerignore\n")
    assert read_by(settled, monkeypatch) == []
    (settled / ".dockerignore").write_text("a\n!a/b\n.dockerignore\n")
    assert read_by(settled, monkeypatch) == ["a/b/one.py", "a/b/two.py"]


def test_a_file_that_just_changed_is_read_again_until_it_has_come_to_rest(
    settled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "RACY_NS", 3600 * 10**9)
    store = settled.parent / "code.index"
    store.unlink()
    first = look(settled, store)
    times = (settled / "a" / "one.py").stat()
    (settled / "a" / "one.py").write_text("aONE.py")
    os.utime(settled / "a" / "one.py", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert look(settled, store).digest != first.digest
    assert len(read_by(settled, monkeypatch)) == 8


def test_what_vanished_after_the_look_is_no_part_of_it(settled: Path) -> None:
    code = look(settled, settled.parent / "code.index")
    (settled / "a" / "one.py").unlink()
    assert code.without_vanished().digest == look(settled, settled.parent / "code.index").digest != code.digest


@pytest.mark.parametrize("damage", ["cut", "one byte", "empty", "another version", "no marshal"])
def test_an_index_that_is_damaged_is_as_none(settled: Path, damage: str) -> None:
    store = settled.parent / "code.index"
    before, content = look(settled, store), store.read_bytes()
    half = len(content) // 2
    damaged = {
        "cut": content[:half],
        "one byte": content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :],
        "empty": b"",
        "another version": content.replace(b"index 3", b"index 0"),
        "no marshal": b"{}",
    }[damage]
    store.write_bytes(damaged)
    assert look(settled, store).digest == before.digest
    assert store.read_bytes() == content


def test_a_file_that_the_command_writes_to_is_no_code_though_it_was(
    settled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = (settled / "c" / "one.py").stat()
    own = Redirected(1, status.st_dev, status.st_ino, status.st_size)
    store = settled.parent / "code.index"
    before = look(settled, store)
    with monkeypatch.context() as patch:
        patch.setattr("toolkit.build.code.files.redirected", lambda: [own])
        assert before.lines().keys() - look(settled, store).lines().keys() == {"c/one.py"}
    assert look(settled, store).digest == before.digest


def test_what_is_said_of_an_entry_is_said_each_time(settled: Path) -> None:
    (settled / "a" / "out").symlink_to(sys.executable)
    os.mkfifo(settled / "c" / "pipe")
    for _ in range(3):
        said: list[str] = []
        look_at(walk_of(settled, warn=said.append), settled.parent / "code.index")
        assert len(said) == 2


def test_the_content_of_a_credential_is_judged_once(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (settled / "a" / "server.pem").write_bytes(KEY)
    time.sleep(SHORT_NS / 1e9)
    assert read_by(settled, monkeypatch) == ["a/server.pem"]
    # It is not read again when another file of its folder changes.
    (settled / "a" / "new.py").write_text("new")
    time.sleep(SHORT_NS / 1e9)
    assert read_by(settled, monkeypatch) == ["a/new.py"]
    for line, read, is_code in (("!a/server.pem\n", ["a/server.pem"], True), ("", [], False)):
        (settled / ".dockerignore").write_text(line + ".dockerignore\n")
        time.sleep(SHORT_NS / 1e9)
        assert read_by(settled, monkeypatch) == read
        assert ("a/server.pem" in look(settled, settled.parent / "code.index").lines()) == is_code


def test_other_rules_of_judging_judge_anew_without_hashing_what_needs_none(
    settled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settled / "a" / "notes").write_text("a text that was no credential")
    time.sleep(SHORT_NS / 1e9)
    look(settled, settled.parent / "code.index")
    stamp = index._stamp
    monkeypatch.setattr(index, "_stamp", lambda module: (1, 1) if module is credentials else stamp(module))
    with monkeypatch.context() as patch:
        assert read_by(settled, patch) == ["a/notes"]


def test_an_unreadable_file_is_named_and_nothing_is_kept_of_it(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: CodeFile, *_: Any) -> FileContent:
        raise BadInput("it cannot be read: Permission denied", file.source)

    store = settled.parent / "code.index"
    kept = store.read_bytes()
    (settled / "a" / "new.py").write_text("new")
    with monkeypatch.context() as patch:
        patch.setattr(index, "read_hash", refuse)
        with pytest.raises(BadInput, match=r"a/new\.py: it cannot be read"):
            look(settled, store)
    assert store.read_bytes() == kept
    assert "a/new.py" in look(settled, store).lines()


def test_the_lines_of_the_last_build_are_those_of_its_digest_only(settled: Path) -> None:
    code = look(settled, settled.parent / "code.index")
    code.keep(settled.parent / "image.code")
    assert kept_lines(settled.parent / "image.code", code.digest) == code.lines()
    assert kept_lines(settled.parent / "image.code", "0" * 64) is None
    assert kept_lines(settled.parent / "none", code.digest) is None
