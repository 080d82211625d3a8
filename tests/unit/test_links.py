"""The links of the project's own pages: each leads to a file of the project, and to a heading that is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "examples", "dockerfiles", "k8s", "bench")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
_BLOCK = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_BLOCK.sub("", page.read_text()))
    plain = (_LINK.sub(lambda link: link[0][1:].partition("](")[0], heading) for heading in headings)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain)


def links(page: Path, text: str) -> list[tuple[str, Path, str]]:
    """The relative links in a page's text: each as it is written, its file and its anchor."""
    found = []
    for link in _LINK.findall(_SPAN.sub("", _BLOCK.sub("", text))):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            found.append((link, (page.parent / path).resolve() if path else page, anchor))
    return found


def broken(page: Path, text: str) -> list[str]:
    """The relative links in a page's text that lead nowhere, or out of the project."""
    return [
        link
        for link, to, anchor in links(page, text)
        if not to.is_relative_to(ROOT) or not to.exists() or (anchor and anchor not in anchors(to))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken(page, page.read_text()) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = (
        "# Here\n[a](running.md#environments) [b](running.md#no-such-heading) [c](gone.md) `[d](gone.md)` [e](https://x.org/y)\n"
        "```\n[f](gone.md)\n```\n[g](../../elsewhere.md)\n"
    )
    assert broken(ROOT / "docs" / "page.md", text) == ["running.md#no-such-heading", "gone.md", "../../elsewhere.md"]


def test_every_page_of_the_docs_is_reached_from_the_readme() -> None:
    reached, ahead = set(), {ROOT / "README.md"}
    while ahead:
        page = ahead.pop()
        reached.add(page)
        ahead |= {to for _, to, _ in links(page, page.read_text()) if to in PAGES} - reached
    assert [page.name for page in PAGES if page.is_relative_to(ROOT / "docs") and page not in reached] == []
