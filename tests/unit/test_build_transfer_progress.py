"""Progress is shown of what takes long, and of nothing else."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from toolkit.build import progress as progress_module
from toolkit.build.progress import progress, shown_size


def test_lines_say_how_far_it_is_until_the_end_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_SILENT", 0.001)
    monkeypatch.setattr(progress_module, "_LINES", 0.001)
    said: list[str] = []
    told = threading.Event()

    def report(line: str) -> None:
        said.append(line)
        told.set()

    with progress(300_000_000, "sending", "to the engine", report) as counted:
        for chunk in counted([b"x" * 150_000_000, b""]):
            if not chunk:  # what was counted so far is the first half
                for _ in range(2):
                    told.clear()
                    assert told.wait(30)
    assert said[-1] == "  sending 300 MB to the engine: 50 %"
    number = len(said)
    told.clear()
    assert not told.wait(0.02) and len(said) == number


def test_a_terminal_has_one_live_line_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            written.set()
            return super().write(text)

    written = threading.Event()
    monkeypatch.setattr(progress_module, "_SILENT", 0.001)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress(20_000_000, "sending", "to the engine", pytest.fail):
        assert written.wait(30)
    shown = terminal.getvalue()
    assert (
        shown.startswith("\r  sending 20 MB to the engine: 0 %\033[K")
        and shown.endswith("\r\033[K")
        and "\n" not in shown
    )


def test_a_line_that_cannot_be_printed_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_module, "_SILENT", 0.001)
    failed = threading.Event()

    def report(line: str) -> None:
        failed.set()
        raise OSError("the reader has left")

    with progress(20_000_000, "sending", "to the engine", report) as counted:
        assert list(counted([b"a"])) == [b"a"] and failed.wait(30)
    assert "Traceback" not in capsys.readouterr().err


def test_what_is_small_or_quick_shows_nothing() -> None:
    for size in (1000, 20_000_000):
        with progress(size, "sending", "to the engine", pytest.fail) as counted:
            assert list(counted([b"a", b"b"])) == [b"a", b"b"]


def test_sizes_have_a_unit_that_makes_them_short() -> None:
    sizes = (0, 999, 1000, 9_900, 12_345_678, 5_000_000_000)
    assert [shown_size(size) for size in sizes] == ["0 B", "999 B", "1.0 kB", "9.9 kB", "12 MB", "5.0 GB"]
