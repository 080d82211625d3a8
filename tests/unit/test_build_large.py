"""Large files lie in layers of their own, which follow from the files alone; files that change while they are read are told."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.build.code.files import project_files
from toolkit.build.code.hashes import FileHashes
from toolkit.build.code.large import LARGE, MOST_LAYERS, TOGETHER, large_layers, size_warning
from toolkit.build.code.layer import LayerEntry, Tar, user_entries, write_tar
from toolkit.build.image import contents as contents_module
from toolkit.errors import ChangedFile, VanishedFile

Sizes = dict[str, int]

_PATHS = st.builds(
    lambda folders, name: "/".join([*folders, name]),
    st.lists(st.sampled_from(["data", "models", "deep"]), max_size=2),
    st.from_regex(r"f[0-9]{1,3}", fullmatch=True),
)
_SIZES = st.sampled_from([1, LARGE - 1, LARGE, 5 * LARGE, 20 * LARGE, 99 * LARGE, 100 * LARGE, 4000 * LARGE])
_FILES = st.dictionaries(_PATHS, _SIZES, max_size=60)


def entries_of(files: Sizes, content: str = "") -> list[LayerEntry]:
    """What :func:`user_entries` gives for files of these sizes, which nobody writes."""
    entries = {"/workspace": LayerEntry("/workspace", "dir", 0o777)}
    for path, size in files.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/workspace/" + "/".join(parts[:depth])
            entries[folder] = LayerEntry(folder, "dir", 0o777)
        digest = hashlib.sha256(f"{path} {size} {content}".encode()).hexdigest()
        entries[f"/workspace/{path}"] = LayerEntry(f"/workspace/{path}", "file", 0o666, digest, f"/x/{path}", size=size)
    return list(entries.values())


def layers_of(files: Sizes) -> list[frozenset[LayerEntry]]:
    return [frozenset(layer) for layer in large_layers(entries_of(files))]


@given(_FILES)
def test_each_large_file_lies_in_one_layer_below_its_folders(files: Sizes) -> None:
    entries = entries_of(files)
    layers = large_layers(entries)
    apart = [entry.path for layer in layers for entry in layer if entry.kind == "file"]
    large = {f"/workspace/{path}": size for path, size in files.items() if size >= LARGE}
    assert sorted(apart) == (sorted(large) if sum(large.values()) > TOGETHER else [])
    assert len(layers) <= MOST_LAYERS <= 22
    for layer in layers:
        assert {entry for entry in layer} <= set(entries)
        paths = {entry.path for entry in layer}
        for path in paths - {"/workspace"}:
            assert path.rpartition("/")[0] in paths
    # From the content alone: not from the order in which a folder lists its files.
    assert [frozenset(layer) for layer in large_layers(entries[::-1])] == [frozenset(layer) for layer in layers]


@given(_FILES, _PATHS, st.sampled_from([LARGE, 20 * LARGE, 4000 * LARGE]))
def test_a_file_that_is_added_changes_its_own_layer_alone(files: Sizes, path: str, size: int) -> None:
    files = {"large": 20 * LARGE, **{name: at for name, at in files.items() if name != path}}
    before, after = layers_of(files), layers_of({**files, path: size})
    assert len(set(after) - set(before)) == 1
    # and one that is removed the same
    assert len(set(before) - set(after)) <= 1


@given(_FILES, st.data())
def test_a_file_that_changes_within_its_range_moves_no_other_below_or_above(files: Sizes, data: st.DataObject) -> None:
    files = {"large": 20 * LARGE, **files}
    path = data.draw(st.sampled_from(sorted(name for name, size in files.items() if size >= LARGE)))
    before = large_layers(entries_of(files))
    changed = [
        LayerEntry(entry.path, "file", entry.mode, "another", entry.source, size=entry.size)
        if entry.path == f"/workspace/{path}"
        else entry
        for entry in entries_of(files)
    ]
    after = large_layers(changed)
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [
        i for i, layer in enumerate(before) if f"/workspace/{path}" in [entry.path for entry in layer]
    ]


@given(_FILES, st.integers(-1, 25))
def test_there_are_no_more_layers_than_the_base_leaves_room_for(files: Sizes, most: int) -> None:
    assert len(large_layers(entries_of(files), most)) <= max(most, 0)


def test_the_largest_lie_at_the_bottom() -> None:
    sizes = [
        sum(entry.size for entry in layer)
        for layer in large_layers(entries_of({"a": 2 * LARGE, "b": 500 * LARGE, "c": 30 * LARGE}))
    ]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 3


def test_much_code_is_told_with_its_largest_files(tmp_path: Path) -> None:
    for name, size in {"small.py": 10, "data.bin": 60_000_000, "model.bin": 50_000_000, "c": 3, "d": 2}.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # nothing is written for the hole
    files = project_files(tmp_path)
    assert (size_warning(files) or "").startswith(
        "the code has 110 MB: data.bin (60 MB), model.bin (50 MB), small.py (10 B), …: name what no step needs in .dockerignore"
    )
    assert size_warning(files[1:2]) is None


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
        head = b"".join(next(read) for _ in range(3))  # the folder, the header and the first part
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
