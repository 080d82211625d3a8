"""What a build shows while it runs: on a terminal one live line that is gone at the end, elsewhere a line now and then."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr

import pytest

from toolkit.build import progress
from toolkit.build.progress import Doing, LiveLine, byte_progress, shown_size


class Terminal(io.StringIO):
    """A terminal of one encoding, which keeps what is written."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> str:
        """The last line as it is seen."""
        seen = ""
        for part in self.getvalue().rpartition("\n")[2].split("\r"):
            seen = part + seen[len(part) :]
        return seen.rstrip()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_REDRAWN", 0.01)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((40, 20)))
    return Terminal()


def until(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_terminal_has_one_live_line_that_is_gone_at_the_end(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(sentence: str) -> None:
        print(sentence, file=sys.stderr)

    with redirect_stderr(terminal), LiveLine(report, "starting") as shown:
        until(lambda: terminal.screen().startswith("  starting, 0 s"))
        shown.begin("installing the dependencies")
        shown.detail("downloading a-very-long-name-é (760 MB)")
        until(lambda: terminal.screen() == "  installing the dependencies: download")
        shown.detail("x")
        until(lambda: terminal.screen().startswith("  installing the dependencies: x, 0 s"))
    assert terminal.screen() == ""
    assert terminal.getvalue().isascii()
    assert "\n" not in terminal.getvalue().replace("  installing the dependencies\n", "")
    assert max(map(len, terminal.getvalue().replace("\n", "\r").split("\r"))) < 40
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_live_line_is_gone_after_an_error(terminal: Terminal, error: type[BaseException]) -> None:
    with pytest.raises(error), redirect_stderr(terminal), LiveLine(lambda _: None, "starting"):
        until(lambda: "starting" in terminal.screen())
        raise error
    assert terminal.screen() == ""


def test_a_terminal_that_is_gone_ends_no_build(terminal: Terminal) -> None:
    with redirect_stderr(terminal), LiveLine(lambda _: None, "starting"):
        until(lambda: "starting" in terminal.screen())
        terminal.close()


def test_without_a_terminal_there_is_a_line_only_after_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(progress, "_REDRAWN", 0.01)
    said: list[str] = []
    with redirect_stderr(written), LiveLine(said.append, "starting") as shown:
        shown.begin("installing the dependencies")
        shown.detail("downloading torch (760 MB)")
        monkeypatch.setattr(progress, "_QUIET", 0.0)
        until(lambda: len(said) > 1)
    assert said[:2] == [
        "  installing the dependencies",
        "  installing the dependencies: downloading torch (760 MB), 0 s",
    ]
    assert written.getvalue() == ""


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (
            "#13 0.7   Downloading torch-2.4.0-cp311-cp311-manylinux1_x86_64.whl (797.1 MB)",
            "downloading torch (797.1 MB)",
        ),
        ("#13 0.7   Downloading charset_normalizer-3.5.3.tar.gz (63 kB)", "downloading charset_normalizer (63 kB)"),
        ("#13 0.7 Downloading numpy (16.1MiB)", "downloading numpy (16.1MiB)"),
        ("#13 0.7    Building netifaces==0.11.0", "building netifaces"),
        ("#13 0.7    Building ext @ file:///w/cmake/pkg/ext", "building ext"),
        ("#13 0.7   Building wheel for netifaces (setup.py): started", "building netifaces"),
        ("#13 0.7 Collecting requests==2.31.0", "looking for requests"),
        ("#13 0.7 Installing collected packages: six, numpy", "installing what was downloaded"),
        ("#13 0.7 Prepared 16 packages in 865ms", "installing what was downloaded"),
        (
            "#13 0.7   Cloning https://me:secret@forge.example/a.git (to revision v1)",
            "fetching forge.example/a.git",
        ),
        (
            "#5 1.2 Get:7 http://deb.debian.org/debian bookworm/main amd64 gcc-12 amd64 12.2.0-14 [19.3 MB]",
            "downloading gcc-12 (19.3 MB)",
        ),
        ("#5 1.2 Unpacking gcc-12 (12.2.0-14) ...", "unpacking gcc-12"),
        ("#4 sha256:0ab 12.58MB / 55.10MB 3.2s", "pulling the base image (12.58MB of 55.10MB)"),
        ("#14 exporting layers 1.2s done", "writing the image"),
        ("#13 0.7 anything", None),
        ("#13 DONE 4.0s", None),
        ("------", None),
    ],
)
def test_what_is_done_is_read_from_the_tools_lines(line: str, detail: str | None) -> None:
    assert Doing().read(line) == detail


def test_of_several_downloads_one_that_still_runs_is_shown() -> None:
    doing = Doing()
    doing.read("#13 0.7 Downloading torch (760.1MiB)")
    doing.read("#13 0.7 Downloading numpy (16.1MiB)")
    assert doing.read("#13 0.9  Downloaded numpy") == "downloading torch (760.1MiB)"
    assert doing.read("#13 0.9  Downloaded torch") == ""


def test_of_bytes_it_is_shown_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_REDRAWN", 0.001)
    monkeypatch.setattr(progress, "_QUIET", 0.0)
    said: list[str] = []
    with byte_progress(300_000_000, "sending {} to the engine", said.append) as counted:
        for chunk in counted([b"x" * 150_000_000, b""]):
            if not chunk:  # what was counted so far is the first half
                until(lambda: "  sending 300 MB to the engine: 50 %, 0 s" in said)
    number = len(said)
    time.sleep(0.01)
    assert len(said) == number


def test_of_bytes_whose_number_is_not_known_it_is_shown_how_many_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_REDRAWN", 0.001)
    monkeypatch.setattr(progress, "_QUIET", 0.0)
    said: list[str] = []
    with byte_progress(None, "reading the code", said.append) as counted:
        for chunk in counted([b"x" * 1_000_000, b""]):
            if not chunk:
                until(lambda: "  reading the code: 1.0 MB, 0 s" in said)


def test_a_line_that_cannot_be_printed_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_REDRAWN", 0.001)
    monkeypatch.setattr(progress, "_QUIET", 0.0)
    failed: list[str] = []

    def report(line: str) -> None:
        failed.append(line)
        raise OSError("the reader has left")

    with byte_progress(20_000_000, "sending {} to the engine", report) as counted:
        assert list(counted([b"a"])) == [b"a"]
        until(lambda: bool(failed))
    assert "Traceback" not in capsys.readouterr().err


def test_what_is_small_or_quick_shows_nothing() -> None:
    for size in (1000, 20_000_000):
        with byte_progress(size, "writing {}", pytest.fail) as counted:
            assert list(counted([b"a", b"b"])) == [b"a", b"b"]


def test_sizes_have_a_unit_that_makes_them_short() -> None:
    sizes = (0, 999, 1000, 9_900, 12_345_678, 5_000_000_000)
    assert [shown_size(size) for size in sizes] == ["0 B", "999 B", "1.0 kB", "9.9 kB", "12 MB", "5.0 GB"]
