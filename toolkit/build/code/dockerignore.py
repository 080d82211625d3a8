"""``.dockerignore`` by Docker's own rules (github.com/moby/patternmatcher), which no matcher for .gitignore has.

docker-py's own matcher is not used: it ignores case, always keeps ``.dockerignore`` and ``Dockerfile``, and loses what
a ``!`` with a wildcard brings back from below an ignored folder.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from toolkit.errors import BadInput

NAME = ".dockerignore"


@dataclass(frozen=True)
class Pattern:
    """One line of the file.

    Attributes:
        regex: matches the whole of a relative POSIX path.
        exception: the line began with ``!``: what it matches is kept.
        literal: the pattern up to its first wildcard, which every path that it matches starts with.
    """

    regex: re.Pattern[str]
    exception: bool
    literal: str


@dataclass(frozen=True)
class Patterns:
    patterns: tuple[Pattern, ...] = ()

    def ignores(self, path: str) -> bool:
        """Whether ``path`` is left out."""
        parts = path.split("/")
        matched: tuple[bool, ...] = ()
        for end in range(1, len(parts) + 1):
            matched = self.matches("/".join(parts[:end]), matched)
        return self.verdict(matched)

    def matches(self, path: str, above: tuple[bool, ...]) -> tuple[bool, ...]:
        """Which lines match ``path`` or a folder above it; ``above`` is the same of its folder, or empty at the top."""
        if not above:
            return tuple(pattern.regex.match(path) is not None for pattern in self.patterns)
        return tuple(
            known or pattern.regex.match(path) is not None for known, pattern in zip(above, self.patterns, strict=True)
        )

    def verdict(self, matched: tuple[bool, ...]) -> bool:
        """Whether what these lines match is left out: the last one decides."""
        for pattern, found in zip(reversed(self.patterns), reversed(matched), strict=True):
            if found:
                return not pattern.exception
        return False

    def may_keep_below(self, folder: str) -> bool:
        """Whether an exception can bring back something from below an ignored folder."""
        below = folder + "/"
        return any(
            pattern.exception and (pattern.literal.startswith(below) or below.startswith(pattern.literal))
            for pattern in self.patterns
        )


def parse(content: bytes, where: str) -> Patterns:
    """The patterns of a file; ``where`` names it in an error.

    Raises:
        BadInput: a line that Docker refuses as well, with its number.
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
            raise BadInput("a lone `!` keeps nothing: give it a pattern, or remove it", f"{where}:{number}")
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
        patterns.append(Pattern(regex, exception, literal))
    return Patterns(tuple(patterns))


def _translate(pattern: str) -> str:
    """The regular expression, piece by piece as moby's ``Pattern.compile`` makes it."""
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
    """Where the ``]`` is that ends the class beginning before ``start``.

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
