"""Large files lie in layers of their own, which follow from the files alone; files that change while they are read are told."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.build.code import grouping
from toolkit.build.code.files import project_files, walk_of
from toolkit.build.code.grouping import (
    LARGE_FILES,
    MOST_DATA,
    MOST_LARGE,
    MOST_PROGRAMS,
    TOGETHER,
    Group,
    grouped,
    size_warning,
)
from toolkit.build.code.hashes import FileHashes
from toolkit.build.code.index import look_at
from toolkit.build.code.kinds import DATA, LARGE, LARGE_SIZE, PROGRAM, Folders, Own, kind_of, parts_of
from toolkit.build.code.layer import LayerEntry, Tar, user_entries, write_tar
from toolkit.build.image import contents as contents_module
from toolkit.errors import ChangedFile, VanishedFile

Sizes = dict[str, int]
ROOT = "/x"

_PATHS = st.builds(
    lambda folders, name: "/".join([*folders, name]),
    st.lists(st.sampled_from(["data", "models", "deep"]), max_size=2),
    st.from_regex(r"f[0-9]{1,3}", fullmatch=True),
)
_SIZES = st.sampled_from([1, LARGE_SIZE - 1, LARGE_SIZE, *(number * LARGE_SIZE for number in (5, 20, 99, 100, 4000))])
_FILES = st.dictionaries(_PATHS, _SIZES, max_size=60)
_FEW = {"MANY_DATA": 8, "MANY_PROGRAMS": 6, "_CROWDED": 5, "_A_LAYER": 1}
"""The limits of the tests with small files."""
_SMALL = st.dictionaries(
    st.builds(lambda path, ending: path + ending, _PATHS, st.sampled_from([".py", ".json", ".png", "", ".yaml"])),
    st.sampled_from([0, 1, 40, LARGE_SIZE, 20 * LARGE_SIZE]),
    max_size=80,
)


@contextmanager
def limits(**values: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(grouping, name, value)
        yield


def folders_of(files: Sizes, changed: str = "") -> Folders:
    """What a look finds where there are files of these sizes, which nobody writes."""
    own: dict[str, list[Own]] = {"": []}
    for path, size in files.items():
        folder, slash, name = path.rpartition("/")
        while folder + slash not in own:
            own[folder + slash] = []
            folder, slash, _ = folder.rpartition("/")
        digest = hashlib.sha256(f"{path} {size} {path == changed}".encode()).hexdigest()
        own[path[: len(path) - len(name)]].append((name, "file", False, size, digest))
    return {folder: parts_of(own[folder]) for folder in sorted(own)}


def entries_of(files: Sizes) -> set[LayerEntry]:
    return set(grouped(folders_of(files), 0)[1].entries(ROOT))


def layers_of(files: Sizes, changed: str = "", most: int = 100) -> list[frozenset[LayerEntry]]:
    below, _ = grouped(folders_of(files, changed), most)
    return [frozenset(group.entries(ROOT)) for group in below]


def large_of(files: Sizes) -> list[frozenset[LayerEntry]]:
    below, _ = grouped(folders_of(files), 100)
    return [frozenset(group.entries(ROOT)) for group in below if group.holds == LARGE_FILES]


@given(_FILES)
def test_each_large_file_lies_in_one_layer_below_its_folders(files: Sizes) -> None:
    layers = large_of(files)
    apart = [entry.path for layer in layers for entry in layer if entry.kind == "file"]
    large = {f"/workspace/{path}": size for path, size in files.items() if size >= LARGE_SIZE}
    assert sorted(apart) == (sorted(large) if sum(large.values()) > TOGETHER else [])
    assert len(layers) <= MOST_LARGE <= 22


@given(_SMALL, st.integers(-1, 40))
def test_all_layers_together_hold_the_code_each_file_once(files: Sizes, most: int) -> None:
    with limits(**_FEW):
        below, rest = grouped(folders_of(files), most)
    layers = [list(group.entries(ROOT)) for group in (*below, rest)]
    assert len(below) <= min(max(most, 0), MOST_LARGE + MOST_DATA + MOST_PROGRAMS)
    assert all(group.count for group in below)
    found = [entry for layer in layers for entry in layer]
    assert set(found) == entries_of(files)
    apart = sorted(entry.path for entry in found if entry.kind == "file")
    assert apart == sorted(f"/workspace/{path}" for path in files)
    for layer in layers:
        paths = [entry.path for entry in layer]
        assert len(set(paths)) == len(paths)
        for path in set(paths) - {"/workspace"}:
            assert path.rpartition("/")[0] in paths
    assert all(len(set(_kinds(group))) == 1 for group in below)
    assert rest.count + sum(group.count for group in below) == len(files)
    assert rest.size + sum(group.size for group in below) == sum(files.values())


def _kinds(group: Group) -> Iterator[int]:
    for entry in group.entries(ROOT):
        if entry.kind == "file":
            yield kind_of(entry.path.rpartition("/")[2], entry.size, False)


@given(_SMALL, st.data())
def test_a_changed_file_changes_its_own_layer_alone_and_its_key(files: Sizes, data: st.DataObject) -> None:
    files = {"app.py": 10, **files}
    changed = data.draw(st.sampled_from(sorted(files)))
    with limits(**_FEW):
        before, rest = grouped(folders_of(files), 100)
        after, new_rest = grouped(folders_of(files, changed), 100)
    different = [(old, new) for old, new in zip((*before, rest), (*after, new_rest), strict=True) if old.key != new.key]
    assert len(different) == 1
    for old, new in zip((*before, rest), (*after, new_rest), strict=True):
        is_same = set(old.entries(ROOT)) == set(new.entries(ROOT))
        assert is_same == (old.key == new.key)
        holds = f"/workspace/{changed}" in {entry.path for entry in old.entries(ROOT)}
        assert holds != is_same


@given(_SMALL, st.sampled_from(["data/new.json", "new.py", "deep/new.py", "other/folder/new.png"]))
def test_a_small_file_that_comes_changes_one_layer_while_its_folder_is_not_crowded(files: Sizes, path: str) -> None:
    files = {
        **{f"many/f{number}.py": 1 for number in range(9)},
        **{f"many/f{number}.png": 1 for number in range(9)},
        **files,
    }
    with limits(**{**_FEW, "_CROWDED": 1000}), pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "_number_of_shares", lambda files, most: most)
        before, after = (
            [group.key for group in (*below, rest)]
            for below, rest in (grouped(folders_of(one), 100) for one in (files, {**files, path: 1}))
        )
    # A new folder leaves no other layer than the one that its file is in, so the code layer stays as it is.
    assert len(set(after) - set(before)) == 1


def test_a_crowded_folder_is_spread_evenly_and_by_names_alone() -> None:
    files = {f"images/{number:05}.png": 1 for number in range(9_000)}
    below, rest = grouped(folders_of(files), 100)
    assert [group.holds for group in below] == ["data"] * 4 and not rest.count
    assert all(2_000 <= group.count <= 2_500 for group in below)
    more, _ = grouped(folders_of({**files, "images/x.png": 1, "images/y/z.png": 1}), 100)
    assert sum(one.key != other.key for one, other in zip(below, more, strict=True)) <= 2


def test_many_programs_are_shared_and_those_in_the_root_stay_in_the_code_layer() -> None:
    files = {f"package_{number % 500}/module_{number}.py": 1 for number in range(9_000)}
    below, rest = grouped(folders_of({**files, "pipeline.py": 1, "one.json": 1}), 100)
    assert [group.holds for group in below] == ["programs"] * 3
    paths = {entry.path for entry in rest.entries(ROOT)}
    assert {"/workspace/pipeline.py", "/workspace/one.json"} <= paths
    assert all(1_800 <= group.count <= 2_700 for group in (*below, rest))


@pytest.mark.parametrize(
    ("files", "shares"), [(100, 1), (2_001, 2), (7_999, 2), (8_000, 4), (31_999, 4), (98_000, 8), (200_000, 12)]
)
def test_the_more_files_the_more_layers_share_them(files: int, shares: int) -> None:
    assert grouping._number_of_shares(files, MOST_DATA) == shares


def test_few_files_lie_in_the_code_layer_alone() -> None:
    files = {f"f{number}.png": 10 for number in range(2_000)} | {f"f{number}.py": 10 for number in range(5_000)}
    assert not grouped(folders_of(files), 100)[0]
    # Many bytes of data count like many files.
    assert grouped(folders_of({f"f{number}.png": 600_000 for number in range(20)}), 100)[0]


@pytest.mark.parametrize(
    ("name", "is_executable", "kind"),
    [
        ("a.py", False, PROGRAM), ("A.PY", False, PROGRAM), ("toolkit.yaml", False, PROGRAM), (".gitignore", False, PROGRAM),
        ("Makefile", False, PROGRAM), ("run", True, PROGRAM), ("requirements.txt", False, PROGRAM),
        ("page.html.j2", False, PROGRAM),
        ("a.json", True, DATA),
        ("a.json", False, DATA), ("a.csv", False, DATA), ("part-00001", False, DATA), ("a.py.gz", False, DATA), ("x.", False, DATA),
    ],
)  # fmt: skip
def test_a_file_is_a_program_by_its_name_or_its_executable_bit(name: str, is_executable: bool, kind: int) -> None:
    assert kind_of(name, 10, is_executable) == kind
    assert kind_of(name, LARGE_SIZE, is_executable) == LARGE


@given(_FILES, _PATHS, st.sampled_from([LARGE_SIZE, 20 * LARGE_SIZE, 4000 * LARGE_SIZE]))
def test_a_file_that_is_added_changes_its_own_layer_alone(files: Sizes, path: str, size: int) -> None:
    files = {"large": 20 * LARGE_SIZE, **{name: at for name, at in files.items() if name != path}}
    before, after = large_of(files), large_of({**files, path: size})
    assert len(set(after) - set(before)) == 1
    # and one that is removed the same
    assert len(set(before) - set(after)) <= 1


@given(_FILES, st.data())
def test_a_file_that_changes_within_its_range_moves_no_other_below_or_above(files: Sizes, data: st.DataObject) -> None:
    files = {"large": 20 * LARGE_SIZE, **files}
    path = data.draw(st.sampled_from(sorted(name for name, size in files.items() if size >= LARGE_SIZE)))
    before, after = layers_of(files), layers_of(files, path)
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [
        i for i, layer in enumerate(before) if f"/workspace/{path}" in [entry.path for entry in layer]
    ]


def test_the_largest_lie_at_the_bottom() -> None:
    sizes = [
        sum(entry.size for entry in layer)
        for layer in large_of({"a": 2 * LARGE_SIZE, "b": 500 * LARGE_SIZE, "c": 30 * LARGE_SIZE})
    ]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 3


def test_much_code_is_told_with_its_largest_files(tmp_path: Path) -> None:
    for name, size in {"small.py": 10, "data.bin": 60_000_000, "model.bin": 50_000_000, "c": 3, "d": 2}.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # nothing is written for the hole
    code = look_at(walk_of(tmp_path), tmp_path.parent / "code.index", keep=False)
    assert (size_warning(code) or "").startswith(
        "the code has 110 MB: data.bin (60 MB), model.bin (50 MB), small.py (10 B), …: name what no step needs in .dockerignore"
    )
    (tmp_path / "data.bin").unlink()
    assert size_warning(look_at(walk_of(tmp_path), tmp_path.parent / "code.index", keep=False)) is None


def test_a_tar_that_is_read_is_the_one_that_tarfile_reads_and_knows_its_size(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"x" * 3_000_001)
    (tmp_path / ("long" * 60)).write_text("")
    (tmp_path / "link").symlink_to("a.bin")
    entries = user_entries(project_files(tmp_path), FileHashes(tmp_path.parent / "hashes.json"))
    tar = Tar(tuple(entries))
    content = b"".join(tar.read())
    assert len(content) == tar.size
    stream = io.BytesIO()
    write_tar(entries[::-1], stream)
    assert stream.getvalue() == content
    with tarfile.open(fileobj=io.BytesIO(content)) as read:
        assert [member.name for member in read] == [
            "workspace",
            *(f"workspace/{n}" for n in ("a.bin", "link", "long" * 60)),
        ]
        assert read.extractfile("workspace/a.bin").read() == b"x" * 3_000_001  # type: ignore[union-attr]


@pytest.mark.parametrize("change", ["grows", "shrinks", "other bytes", "a link", "a folder", "gone"])
def test_a_tar_does_not_end_where_a_file_has_changed(tmp_path: Path, change: str) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"x" * 2_000_000)
    tar = Tar(tuple(user_entries(project_files(tmp_path), FileHashes(tmp_path.parent / "hashes.json"))))
    read = tar.read()
    if change == "grows":
        file.write_bytes(b"x" * 2_000_001)
    elif change == "shrinks":
        head = b"".join(next(read) for _ in range(2))  # what comes before, and the first part
        assert len(head) > 1_000_000
        file.write_bytes(b"x")
    elif change == "other bytes":
        file.write_bytes(b"y" * 2_000_000)
    else:
        file.unlink()
        if change == "a link":
            file.symlink_to(tmp_path)
        elif change == "a folder":
            file.mkdir()
    with pytest.raises(VanishedFile if change == "gone" else ChangedFile, match=r"a\.bin"):
        b"".join(read)


def test_what_vanishes_during_the_walk_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept.py").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("kept.py")
    scan = os.scandir

    def scanning(path: str) -> Iterator[os.DirEntry[str]]:
        entries = list(scan(path))
        for entry in entries:
            entry.stat(follow_symlinks=False)  # it is remembered, as of a folder that vanishes after it was looked at
        if str(path) == str(tmp_path):
            (tmp_path / "folder").rmdir()
            (tmp_path / "link").unlink()
        return iter(entries)

    monkeypatch.setattr(os, "scandir", scanning)
    assert [file.path for file in project_files(tmp_path)] == ["kept.py"]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3 << 19)), max_size=6), st.integers(1, 1 << 21))
def test_compression_gives_the_same_bytes_however_the_content_is_read(parts: list[tuple[bool, int]], size: int) -> None:
    import gzip
    import random
    import tempfile

    source = random.Random(1)
    content = b"".join(source.randbytes(length) if packed else b"line\n" * (length // 5) for packed, length in parts)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "packed.gz"
        whole = contents_module._compress([content], file)
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        assert contents_module._compress(pieces, file) == whole
        assert gzip.decompress(file.read_bytes()) == content
        assert whole[1] < len(content) + 1000
