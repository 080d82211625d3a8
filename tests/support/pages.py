"""The code of a page of docs/: its fenced blocks, and those that are files.

A block is a file of the reader's when its first line is a comment that is the file's name: ``# pipeline.py``, ``# toolkit.yaml``.
Blocks of one name are one file, in their order. Any other block is only shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)
_FILE_NAME = re.compile(r"# ([\w./-]+\.\w+)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: the word after the fence; may be empty. heading: of the section around it. line: of its fence, from 1.
    """

    language: str
    text: str
    heading: str
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that the block is; None for one that is only shown."""
        named = _FILE_NAME.match(self.text)
        return named[1] if named else None


def blocks(page: str, heading: str | None = None) -> list[Block]:
    """The fenced blocks of docs/``page``, in their order.

    Args:
        heading: only those of the section with this heading, without those of its subsections.

    Raises:
        AssertionError: the page has no such block, so that a test can't pass because a heading was renamed.
    """
    text = (DOCS / page).read_text()
    found = []
    for fence in _FENCE.finditer(text):
        # A comment in an earlier block is no heading.
        before = _FENCE.sub("", text[: fence.start()])
        headings = _HEADING.findall(before)
        lines = [line.removeprefix(fence["indent"]) for line in fence["text"].splitlines(keepends=True)]
        line = text.count("\n", 0, fence.start()) + 1
        found.append(Block(fence["language"], "".join(lines), headings[-1] if headings else "", line))
    found = [block for block in found if heading is None or block.heading == heading]
    assert found, f"docs/{page} has no code" + (f" below {heading!r}" if heading else "")
    return found


def write_files(root: Path, page: str, heading: str | None = None) -> list[str]:
    """Writes the files that the page's blocks are below ``root``; returns their names in the page's order."""
    files: dict[str, str] = {}
    for block in blocks(page, heading):
        if block.file is not None:
            files[block.file] = files.get(block.file, "") + block.text
    assert files, f"no block of docs/{page} is a file: its first line would be a comment with the file's name"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(files)
