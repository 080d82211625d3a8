"""``.dockerignore`` by Docker's own rules (github.com/moby/patternmatcher), which differ from those of .gitignore.

docker-py's matcher is not used. It ignores case, always keeps ``.dockerignore`` and ``Dockerfile``, and leaves out what a
``!`` with a wildcard keeps below an ignored folder.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import BadInput

NAME = ".dockerignore"


@dataclass(frozen=True)
class Pattern:
    """One line of the file.

    Attributes:
        regex: matches the whole of a relative POSIX path.
        exception: whether the line began with ``!``, so that what it matches is kept.
        literal: the pattern up to its first wildcard. Every path that the pattern matches starts with it.
        is_specific: whether its last part is more than stars, so that it does not match whatever a folder holds.
    """

    regex: re.Pattern[str]
    exception: bool
    literal: str
    is_specific: bool = True


@dataclass(frozen=True)
class Patterns:
    """The lines of a file, in their order."""

    patterns: tuple[Pattern, ...] = ()

    def names(self, path: str) -> bool:
        """Whether an exception has this very path, without wildcards."""
        return any(pattern.exception and pattern.literal == path for pattern in self.patterns)

    def means(self, path: str) -> bool:
        """Whether an exception matches this path itself, and not only a folder above it or all that a folder holds."""
        return any(
            pattern.exception and pattern.is_specific and pattern.regex.match(path) is not None
            for pattern in self.patterns
        )

    def above(self, folder: str) -> tuple[bool, ...]:
        """Which lines match a folder, by its path with a slash at its end, or a folder above it; "" is the top."""
        matched: tuple[bool, ...] = ()
        end = folder.find("/")
        while self.patterns and end >= 0:
            matched = self.matches(folder[:end], matched)
            end = folder.find("/", end + 1)
        return matched

    def matches(self, path: str, above: tuple[bool, ...]) -> tuple[bool, ...]:
        """Which lines match ``path`` or a folder above it.

        Args:
            above: the same for the folder of ``path``; empty at the top.
        """
        if not above:
            return tuple(pattern.regex.match(path) is not None for pattern in self.patterns)
        return tuple(
            inherited or pattern.regex.match(path) is not None
            for inherited, pattern in zip(above, self.patterns, strict=True)
        )

    def verdict(self, matched: tuple[bool, ...], otherwise: bool = False) -> bool:
        """Whether a path that these lines match is ignored. The last one decides.

        Args:
            otherwise: the answer where none matches, as by lines above these.
        """
        for pattern, matches in zip(reversed(self.patterns), reversed(matched), strict=True):
            if matches:
                return not pattern.exception
        return otherwise

    def may_keep_below(self, folder: str) -> bool:
        """Whether an exception may keep something below an ignored folder."""
        below = folder + "/"
        return any(
            pattern.exception and (pattern.literal.startswith(below) or below.startswith(pattern.literal))
            for pattern in self.patterns
        )


def read_patterns(root: Path) -> Patterns:
    """The lines of a project's .dockerignore, if it has one.

    Raises:
        BadInput: it cannot be read, or as of :func:`parse`.
    """
    ignore = root / NAME
    try:
        return parse(ignore.read_bytes(), NAME) if ignore.is_file() else Patterns()
    except OSError as error:
        raise BadInput(f"it cannot be read: {error.strerror}", str(ignore)) from error


def parse(content: bytes, where: str) -> Patterns:
    """The patterns of a file.

    Args:
        where: the file's name, for an error.

    Raises:
        BadInput: Docker refuses a line as well; its number is given.
    """
    patterns: list[Pattern] = []
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#") or not (line := line.strip()):
            continue
        exception = line.startswith("!")
        if exception:
            line = line[1:].strip()
        if not line:
            raise BadInput("a `!` without a pattern keeps nothing: add a pattern, or remove it", f"{where}:{number}")
        cleaned = posixpath.normpath(line)
        if cleaned.startswith("//"):
            cleaned = cleaned[1:]
        if len(cleaned) > 1:
            cleaned = cleaned.removeprefix("/")
        try:
            regex = re.compile(_translate(cleaned), re.DOTALL)
        except re.error as error:
            raise BadInput(f"the pattern {line!r} cannot be read: {error}", f"{where}:{number}") from error
        literal = re.split(r"[*?\[\\]", cleaned, maxsplit=1)[0]
        is_specific = cleaned.rpartition("/")[2].strip("*") != ""
        patterns.append(Pattern(regex, exception, literal, is_specific))
    return Patterns(tuple(patterns))


def _translate(pattern: str) -> str:
    """The pattern as a regular expression, translated piece by piece as by moby's ``Pattern.compile``."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*" and pattern.startswith("*", at):
            at += 1
            slash = pattern.startswith("/", at)
            at += slash
            if at == len(pattern):
                parts.append(".*")
            elif at == 2 and not slash:
                parts.append(".*")  # moby matches a leading ** without a slash as a suffix
            else:
                parts.append("(.*/)?")
        elif character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            end = _class_end(pattern, at)
            parts.append("[" + pattern[at:end].replace("[", r"\[").replace("&&", r"\&&").replace("||", r"\||") + "]")
            at = end + 1
        elif character == "\\" and at < len(pattern):
            parts.append(re.escape(pattern[at]))
            at += 1
        else:
            parts.append(re.escape(character))
    return "".join(parts) + r"\Z"


def _class_end(pattern: str, start: int) -> int:
    """The position of the ``]`` that ends the class which begins before ``start``.

    Raises:
        re.error: there is none, or the class is empty.
    """
    first = at = start + pattern.startswith("^", start)
    while at < len(pattern) and (pattern[at] != "]" or at == first):
        if pattern[at] == "]":
            raise re.error("a `[` whose class is empty")
        at += 2 if pattern[at] == "\\" else 1
    if at >= len(pattern):
        raise re.error("a `[` without its `]`")
    return at
