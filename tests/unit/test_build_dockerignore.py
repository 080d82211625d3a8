"""A .dockerignore means what it means to Docker (tests/docker/test_build_ignores_as_docker.py asks BuildKit)."""

from __future__ import annotations

import pytest

from toolkit.build.dockerignore import Patterns, parse
from toolkit.errors import BadInput

TABLE: list[tuple[str, str, bool]] = [
    # (content, path, whether it is ignored)
    ("data.csv", "data.csv", True),
    ("data.csv", "sub/data.csv", False),
    ("data.csv", "DATA.CSV", False),
    ("*.csv", "data.csv", True),
    ("*.csv", "sub/data.csv", False),
    ("**/*.csv", "data.csv", True),
    ("**/*.csv", "a/b/data.csv", True),
    ("*/data.csv", "a/data.csv", True),
    ("*/data.csv", "a/b/data.csv", False),
    ("sub", "sub/deep/file", True),
    ("sub/", "sub/file", True),
    ("/sub", "sub/file", True),
    ("./sub", "sub/file", True),
    ("sub/../other", "other/file", True),
    ("sub/**", "sub/file", True),
    ("**", "any/thing", True),
    ("**/deep", "sub/deep/file", True),
    ("**/deep/**", "sub/deep/file", True),
    ("a/**/z", "a/b/c/z", True),
    ("a/**/z", "a/z", True),
    ("a/**/z", "b/z", False),
    ("file?.py", "file1.py", True),
    ("file?.py", "file12.py", False),
    ("file[0-9].py", "file7.py", True),
    ("file[^0-9].py", "file7.py", False),
    ("file[^0-9].py", "filex.py", True),
    ("a.b", "axb", False),
    ("a+b(c)|d{e}$", "a+b(c)|d{e}$", True),
    (r"a\*b", "a*b", True),
    (r"a\*b", "axb", False),
    ("# data.csv", "data.csv", False),
    (" # data.csv", "# data.csv", True),
    ("   data.csv   ", "data.csv", True),
    ("\ufeffdata.csv", "data.csv", True),
    ("data.csv\r\nother.csv\r", "data.csv", True),
    ("*.md\n!README.md", "README.md", False),
    ("*.md\n!README.md", "OTHER.md", True),
    ("!README.md\n*.md", "README.md", True),
    ("sub\n!sub/keep.txt", "sub/keep.txt", False),
    ("sub\n!sub/keep.txt", "sub/other.txt", True),
    ("sub\n!**/keep.txt", "sub/a/keep.txt", False),
    ("*\n!src", "src/a.py", False),
    ("*\n!src\nsrc/private", "src/private/a.py", True),
    ("*\n! src", "src/a.py", False),
    ("*\n!/src", "src/a.py", False),
    (".", "data.csv", False),
    ("", "data.csv", False),
    ("Ünï*", "Ünïcode", True),
    ("with space", "with space", True),
]


@pytest.mark.parametrize(("content", "path", "ignored"), TABLE)
def test_a_pattern_means_what_it_means_to_docker(content: str, path: str, ignored: bool) -> None:
    assert ignores(parse(content.encode(), ".dockerignore"), path) is ignored


def ignores(patterns: Patterns, path: str) -> bool:
    matched: tuple[bool, ...] = ()
    parts = path.split("/")
    for end in range(len(parts)):
        matched = patterns.matches("/".join(parts[: end + 1]), matched)
    return patterns.verdict(matched)


@pytest.mark.parametrize("content", ["ok\n!", "ok\n[a", "ok\n[]a]"])
def test_a_line_that_docker_refuses_is_refused_with_its_number(content: str) -> None:
    with pytest.raises(BadInput) as error:
        parse(content.encode(), ".dockerignore")
    assert error.value.where == ".dockerignore:2"


def test_an_ignored_folder_is_entered_only_for_an_exception_that_may_lie_in_it() -> None:
    patterns = parse(b"*\n!src/keep\n!docs/*.md", ".dockerignore")
    assert patterns.may_keep_below("src")
    assert patterns.may_keep_below("docs")
    assert not patterns.may_keep_below("data")
