"""A step's copy of the code: nothing that is written to it reaches the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit.runtime.step.work_folder import list_code, make_work_folder, replace_link


@pytest.fixture
def code(tmp_path: Path) -> Path:
    code = tmp_path / "code"
    (code / "pkg").mkdir(parents=True)
    (code / "run.sh").write_text("true")
    (code / "run.sh").chmod(0o755)
    (code / "pkg" / "m.py").write_text("x = 1")
    os.utime(code / "pkg" / "m.py", ns=(1, 1_000_000_007))
    (code / "large.bin").write_bytes(os.urandom(3 << 20))
    (tmp_path / "outside.txt").write_text("outside")
    (code / "to-file").symlink_to("pkg/m.py")
    (code / "pkg" / "to-folder").symlink_to("../pkg")
    (code / "absolute").symlink_to(code / "run.sh")
    (code / "to-outside").symlink_to("../outside.txt")
    (code / "dangling").symlink_to("nowhere")
    return code


def copied(code: Path, in_container: bool = False) -> Path:
    work = code.parent / "work"
    make_work_folder(str(work), str(code), list_code(str(code)), in_container)
    return work


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_have_their_content_their_time_and_their_executable_bit(code: Path) -> None:
    work = copied(code)
    assert content(work) == content(code)
    assert (work / "pkg" / "m.py").stat().st_mtime_ns == 1_000_000_007
    assert os.access(work / "run.sh", os.X_OK) and not (work / "large.bin").stat().st_mode & 0o111


def test_nothing_that_is_written_to_the_copy_or_through_a_link_in_it_reaches_the_project(code: Path) -> None:
    before = content(code)
    work = copied(code)
    for name in ("run.sh", "large.bin", "to-file", "pkg/to-folder/m.py", "absolute", "dangling"):
        with open(work / name, "ab") as file:
            file.write(b"changed")
    assert content(code) == before
    # The project's own links lead to the copy of what they lead to, and out of the project where they did.
    assert (work / "to-file").read_text() == "x = 1changedchanged"
    assert os.path.realpath(work / "to-outside") == str(code.parent / "outside.txt")


def test_where_blocks_can_not_be_shared_the_content_is_copied(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuses, raising=False)
    assert content(copied(code)) == content(code)


def test_a_large_file_in_an_image_is_a_link_where_nobody_can_write_through_it(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code / "large.py").write_bytes(b"#" * (2 << 20))
    monkeypatch.setattr(os, "access", lambda *_: False)
    work = copied(code, in_container=True)
    assert [
        path.name for path in work.iterdir() if path.is_symlink() and path.is_absolute() and "large" in path.name
    ] == ["large.bin"]
    # A step that puts it gets a copy.
    replace_link(str(work / "large.bin"))
    assert not (work / "large.bin").is_symlink()
    assert content(work) == content(code)


def test_what_is_gone_or_can_not_be_read_ends_no_step(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = list_code(str(code))
    (code / "run.sh").unlink()
    opened = os.open

    def refuses(path: str, *rest: int) -> int:
        if str(path) == str(code / "large.bin"):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *rest)

    monkeypatch.setattr(os, "open", refuses)
    work = code.parent / "work"
    make_work_folder(str(work), str(code), files, False)
    assert not (work / "run.sh").exists()
    assert (work / "large.bin").is_symlink()


def test_bytecode_of_earlier_imports_is_used(code: Path) -> None:
    import py_compile

    compiled = py_compile.compile(str(code / "pkg" / "m.py"))
    assert compiled is not None
    work = code.parent / "work"
    files = [pair for pair in list_code(str(code)) if "__pycache__" not in pair[0]]
    make_work_folder(str(work), str(code), files, False)
    copy = work / "pkg" / Path(compiled).relative_to(code / "pkg")
    assert copy.read_bytes() == Path(compiled).read_bytes()
    # In an image, where the files are listed as they lie there, nothing more is looked for.
    make_work_folder(str(code.parent / "other"), str(code), files, True)
    assert not list((code.parent / "other").rglob("*.pyc"))
