"""Catalog keys stay inside the step's folder, whatever they are called and wherever links lead; objects are stored whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from toolkit.runtime.shared.catalog import BadKey, FileStore, StepFiles, StoreFault, check_key, is_pattern, matches

WEIRD = ["two words", "line\nbreak", "tab\there", "ünï☃", "-rf", "*", "a[1]", "?", "'\"$(id)`id`", "{{x}}", "a:b", ".hidden",
         "...", "trailing ", "\u202egpj", "x" * 200]  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A step's folder, and beside it one that it must never reach."""
    folder = tmp_path / "work"
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "data" / "a.csv").write_text("a")
    (folder / "data" / "b.txt").write_text("b")
    (folder / "data" / "deep" / "c.csv").write_text("c")
    (folder / "top.csv").write_text("top")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("of another")
    return folder


def put(work: Path, key: str) -> list[str]:
    return [name for name, _ in StepFiles(str(work), [str(work)]).to_put(key)]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "empty"),
        ("a\0b", "empty"),
        ("/etc/passwd", "absolute"),
        ("~/x", "absolute"),
        ("../x", "leads out"),
        ("a/../../x", "leads out"),
        ("a/..", "leads out"),
        ("..", "leads out"),
        ("../work/top.csv", "leads out"),
        ("**/../x", "leads out"),
    ],
)
def test_a_key_that_leads_out_is_refused_for_put_and_get(work: Path, key: str, message: str) -> None:
    files = StepFiles(str(work), [str(work)])
    for use in (check_key, files.to_put, files.target):
        with pytest.raises(BadKey, match=message):
            use(key)


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("top.csv", ["top.csv"]),
        ("./top.csv", ["top.csv"]),
        ("data//a.csv", ["data/a.csv"]),
        ("data", ["data/a.csv", "data/b.txt", "data/deep/c.csv"]),
        ("data/", ["data/a.csv", "data/b.txt", "data/deep/c.csv"]),
        (".", ["data/a.csv", "data/b.txt", "data/deep/c.csv", "top.csv"]),
        ("*.csv", ["top.csv"]),
        ("data/*.csv", ["data/a.csv"]),
        ("**/*.csv", ["data/a.csv", "data/deep/c.csv", "top.csv"]),
        ("data/**", ["data/a.csv", "data/b.txt", "data/deep/c.csv"]),
        ("**", ["data/a.csv", "data/b.txt", "data/deep/c.csv", "top.csv"]),
        ("data/?.txt", ["data/b.txt"]),
        ("data/[ab].*", ["data/a.csv", "data/b.txt"]),
    ],
)
def test_a_key_is_a_file_a_folder_or_a_pattern(work: Path, key: str, names: list[str]) -> None:
    assert put(work, key) == names


@pytest.mark.parametrize("key", ["missing.csv", "data/missing", "*.parquet", "missing/**", "top.csv/x", "Top.csv"])
def test_what_the_step_did_not_write_is_named(work: Path, key: str) -> None:
    with pytest.raises(BadKey) as caught:
        put(work, key)
    assert key in str(caught.value)


@pytest.mark.parametrize("name", WEIRD)
def test_any_file_name_goes_in_and_comes_out(work: Path, tmp_path: Path, name: str) -> None:
    # Given a file of that name,
    (work / name).write_bytes(name.encode())
    store = FileStore(str(tmp_path / "catalog"))
    # when it is put, and got in another step's folder,
    [(found, path)] = StepFiles(str(work), [str(work)]).to_put(name)
    entry = store.put_file(path, copy=True)
    other = tmp_path / "other"
    other.mkdir()
    store.get_file(entry["sha256"], StepFiles(str(other), [str(other)]).target(found))
    # then it is there under the same name, and nothing else is.
    assert os.listdir(other) == [name]
    assert (other / name).read_bytes() == name.encode()


def test_a_name_that_is_no_text_is_found_by_a_pattern(work: Path) -> None:
    path = os.fsencode(work) + b"/caf\xe9.tsv"
    with open(path, "w"):
        pass
    assert put(work, "*.tsv") == [os.fsdecode(b"caf\xe9.tsv")]


@pytest.mark.parametrize("kind", ["file", "folder", "deep"])
def test_a_link_that_leads_outside_is_not_followed(work: Path, tmp_path: Path, kind: str) -> None:
    outside = tmp_path / "outside"
    link, keys = {
        "file": ("leak", ["leak", "**", "le*"]),
        "folder": ("leak", ["leak", "leak/secret"]),
        "deep": ("data/deep/leak", ["data", "data/deep/leak/secret", "data/**"]),
    }[kind]
    (work / link).symlink_to(outside / "secret" if kind == "file" else outside)
    for key in keys:
        with pytest.raises(BadKey, match="leads out"):
            put(work, key)


def test_a_link_inside_the_folder_is_what_it_leads_to(work: Path, tmp_path: Path) -> None:
    (work / "link.csv").symlink_to("top.csv")
    (work / "data" / "same").symlink_to("deep")
    assert put(work, "link.csv") == ["link.csv"]
    assert put(work, "data") == ["data/a.csv", "data/b.txt", "data/deep/c.csv", "data/same/c.csv"]
    # A link to where it lies itself has no end.
    (work / "data" / "round").symlink_to("..")
    assert put(work, "data") == ["data/a.csv", "data/b.txt", "data/deep/c.csv", "data/same/c.csv"]


def test_a_link_into_the_code_is_followed_where_the_folder_is_made_of_links(work: Path, tmp_path: Path) -> None:
    code = tmp_path / "outside"
    (work / "secret").symlink_to(code / "secret")
    files = StepFiles(str(work), [str(work), str(code)])
    assert [name for name, _ in files.to_put("secret")] == ["secret"]


def test_a_dangling_link_and_what_is_no_file_are_refused(work: Path) -> None:
    (work / "dangling").symlink_to("nowhere")
    os.mkfifo(work / "fifo")
    for key in ("dangling", "fifo", "**"):
        with pytest.raises(BadKey, match="not a regular file"):
            put(work, key)


def test_a_folder_whose_name_begins_like_the_steps_own_is_outside(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work-2").mkdir()
    (tmp_path / "work-2" / "x").write_text("x")
    (tmp_path / "work" / "x").symlink_to(tmp_path / "work-2" / "x")
    with pytest.raises(BadKey, match="leads out"):
        put(tmp_path / "work", "x")


def test_getting_through_a_link_that_leads_outside_makes_nothing_there(work: Path, tmp_path: Path) -> None:
    (work / "way").symlink_to(tmp_path / "outside")
    with pytest.raises(BadKey, match="leads out"):
        StepFiles(str(work), [str(work)]).target("way/new/x")
    assert os.listdir(tmp_path / "outside") == ["secret"]


def test_getting_replaces_a_link_and_does_not_write_through_it(work: Path, tmp_path: Path) -> None:
    # Given a step's folder in which a file of the key's name is a link, as files of the project are with plain processes,
    theirs = tmp_path / "outside" / "secret"
    (work / "got").symlink_to(theirs)
    store = FileStore(str(tmp_path / "catalog"))
    entry = store.put_bytes(b"new")
    # when the key is got,
    store.get_file(entry["sha256"], StepFiles(str(work), [str(work)]).target("got"))
    # then the link is gone, and what it led to is as it was.
    assert (work / "got").read_text() == "new" and not (work / "got").is_symlink()
    assert theirs.read_text() == "of another"


@pytest.mark.parametrize("key", ["data", "top.csv/x"])
def test_a_key_that_something_is_in_the_way_of_is_named(work: Path, key: str) -> None:
    with pytest.raises(BadKey, match=key):
        StepFiles(str(work), [str(work)]).target(key)


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        ("*", "a", True),
        ("*", "a/b", False),
        ("**", "a/b/c", True),
        ("a/**", "a", True),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("**/b", "b", True),
        ("*.csv", "A.CSV", False),
        ("[!a]", "b", True),
        ("a", "a/b", False),
    ],
)
def test_patterns(pattern: str, key: str, fits: bool) -> None:
    assert matches(pattern, key) is fits
    assert is_pattern(pattern) or pattern == "a"


# --- the store --------------------------------------------------------------------------------------------------------


def test_equal_content_is_stored_once_whoever_puts_it(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "catalog"))
    (tmp_path / "file").write_bytes(b"same")
    assert store.put_bytes(b"same") == store.put_file(str(tmp_path / "file"), copy=True)
    digest = hashlib.sha256(b"same").hexdigest()
    stored = [path for path in (tmp_path / "catalog").rglob("*") if path.is_file()]
    assert stored == [tmp_path / "catalog" / "objects" / digest[:2] / digest]
    assert store.get_bytes(digest) == b"same"


def test_a_damaged_object_is_a_fault_and_leaves_no_file(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "catalog"))
    entry = store.put_bytes(b"content")
    digest = str(entry["sha256"])
    (tmp_path / "catalog" / "objects" / digest[:2] / digest).write_bytes(b"konten")
    with pytest.raises(StoreFault, match="damaged"):
        store.get_bytes(digest)
    with pytest.raises(StoreFault, match="damaged"):
        store.get_file(digest, str(tmp_path / "target"))
    assert not [name for name in os.listdir(tmp_path) if name.startswith("target")]


def test_what_was_put_without_a_copy_can_be_told_but_not_got(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    for store, copy in ((FileStore(str(tmp_path / "catalog")), False), (FileStore(None), True)):
        entry = store.put_file(str(tmp_path / "file"), copy)
        assert entry == {"sha256": hashlib.sha256(b"x" * 10).hexdigest(), "size": 10}
        with pytest.raises(StoreFault, match=r"store_copy: false|do-nothing"):
            store.get_bytes(entry["sha256"])


def test_a_store_that_can_not_be_written_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "catalog").write_text("a file where the folder should be")
    with pytest.raises(StoreFault, match="can't be written"):
        FileStore(str(tmp_path / "catalog")).put_bytes(b"x")
