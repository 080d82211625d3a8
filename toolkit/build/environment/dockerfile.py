"""A Dockerfile of the user's own: its stages, what it can read of the build's context, and the line that failed.

It is read only as far as that. BuildKit itself says whether it is right.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple

REPOSITORY = "toolkit-dockerfile"
"""Of the images that are made of the users' own Dockerfiles."""

_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(.*?)\s*")
_HEREDOC = re.compile(r"\d*<<(-?)(['\"]?)([A-Za-z_][\w.-]*)\2")
"""A word that begins a heredoc, as BuildKit finds it."""
_KNOWN_FRONTEND = r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?:[:@].*)?"
_REMOTE = r"(?:https?|git|ssh|ftp)://|git@"
_PREDEFINED = (
    r"(?i:(?:https?|ftp|no|all)_proxy)|BUILDKIT_\w+|(?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT)|SOURCE_DATE_EPOCH"
)


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
        keyword: in upper case. text: what follows it, with continued lines joined, without comments and heredocs.
        line: its first line, from 1. end: its last line, with its heredocs.
    """

    keyword: str
    text: str
    line: int
    end: int


class Stage(NamedTuple):
    """One stage. ``image`` is what it starts from, with variables in it replaced as far as they are known.

    Attributes:
        platform: what the FROM's ``--platform`` says, in the same way; "" where there is none.
    """

    name: str
    image: str
    line: int
    platform: str = ""


class Dockerfile(NamedTuple):
    """What is known of a Dockerfile.

    Attributes:
        sources: the patterns of the files that it can read of the context; None where that can't be told, and it may be any.
        arguments: the names that an ARG declares.
        frontend: the image that a ``# syntax=`` line names, and the line.
    """

    instructions: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    sources: tuple[str, ...] | None
    arguments: frozenset[str]
    frontend: tuple[str, int] | None = None

    @property
    def images(self) -> tuple[str, ...]:
        """The images that stages start from and that are no stage themselves."""
        found = []
        for number, stage in enumerate(self.stages):
            if stage.image != "scratch" and stage.image.lower() not in {one.name for one in self.stages[:number]}:
                found.append(stage.image)
        return tuple(dict.fromkeys(found))

    def has_stage(self, target: str) -> bool:
        """Whether BuildKit finds a stage by this name or number."""
        if target.isdecimal() and int(target) < len(self.stages):
            return True
        return target.lower() in {stage.name for stage in self.stages}

    def root_of(self, target: str) -> Stage:
        """The stage that a target ("" is the last stage) starts from in the end, by way of others."""
        number = len(self.stages) - 1
        if target.isdecimal() and int(target) < len(self.stages):
            number = int(target)
        elif target:
            number = max(at for at, stage in enumerate(self.stages) if stage.name == target.lower())
        while True:
            stage = self.stages[number]
            below = [at for at in range(number) if self.stages[at].name == stage.image.lower() and stage.image]
            if not below:
                return stage
            number = below[-1]

    def undeclared(self, names: Mapping[str, str]) -> list[str]:
        """Those of these arguments that no ARG declares, so that they have no effect."""
        return sorted(name for name in names if name not in self.arguments and not re.fullmatch(_PREDEFINED, name))


def read_dockerfile(content: bytes, arguments: Mapping[str, str]) -> Dockerfile:
    """Reads a Dockerfile. What is not understood makes its sources unknown, and is no error here.

    Args:
        arguments: the values of the build's arguments (``build.args``).
    """
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    lines = text.replace("\r\n", "\n").split("\n")
    directives = _directives(lines)
    instructions = tuple(_instructions(lines, "`" if directives.get("escape", ("", 0))[0] == "`" else "\\"))
    sources: list[str] | None = []
    frontend = directives.get("syntax")
    if frontend is not None and not re.fullmatch(_KNOWN_FRONTEND, frontend[0]):
        sources = None  # another language, in which anything may read the context
    for instruction in instructions:
        found = _sources(instruction)
        sources = None if sources is None or found is None else sources + found
    declared = {
        match[1] for one in instructions if one.keyword == "ARG" for match in re.finditer(r"(?:^|\s)(\w+)", one.text)
    }
    return Dockerfile(
        instructions,
        tuple(_stages(instructions, arguments)),
        None if sources is None or "" in sources else tuple(sorted(set(sources))),
        frozenset(declared),
        frontend,
    )


def with_argument(content: bytes, dockerfile: Dockerfile, argument: str) -> bytes:
    """The same with an ``ARG`` in each stage: each RUN is then another one, which no cache has the result of."""
    lines = content.split(b"\n")
    for instruction in reversed(dockerfile.instructions):
        if instruction.keyword == "FROM":
            end = b"\r" if lines[instruction.line - 1].endswith(b"\r") else b""
            lines.insert(instruction.end, f"ARG {argument}".encode() + end)
    return b"\n".join(lines)


def line_before(dockerfile: Dockerfile, line: int) -> int:
    """The line of the file itself for one of :func:`with_argument`."""
    for instruction in dockerfile.instructions:
        if instruction.keyword == "FROM" and instruction.end < line:
            line -= 1
    return line


def faulty_instruction(text: str, dockerfile: Dockerfile, added: bool = False) -> tuple[int | None, str, str]:
    """Where a build failed, as its whole output tells it: the line, the instruction, and the image that it could not get.

    Args:
        added: whether it was built :func:`with_argument`.
    """
    said = re.search(r"parse error on line (\d+)|parse error line (\d+)|^Dockerfile:(\d+)$", text, re.MULTILINE)
    line = int(next(group for group in said.groups() if group)) if said else None
    if line is not None and added:
        line = line_before(dockerfile, line)
    failed = re.search(r"^#(\d+) ERROR", text, re.MULTILINE)
    step = re.search(rf"^#{failed[1]} (?!sha256:|ERROR|\d)(.+)$", text, re.MULTILINE) if failed else None
    name = step[1] if step else ""
    wanted = re.search(r"(?:load metadata for|resolve image config for|^(?:\[[^\]]*\] )?FROM) (\S+)", name)
    image = wanted[1] if wanted else ""
    if line is None and image:
        line = _line_of_image(dockerfile, image)
    if line is None and name:
        shown = " ".join(re.sub(r"^\[[^\]]*\] ", "", name).split())
        line = next(
            (one.line for one in dockerfile.instructions if " ".join(f"{one.keyword} {one.text}".split()) == shown),
            None,
        ) or _line_by_number(dockerfile, name)
    instruction = next(
        (one for one in dockerfile.instructions if line is not None and one.line <= line <= one.end), None
    )
    return line, f"{instruction.keyword} {instruction.text}" if instruction else "", image


def _line_of_image(dockerfile: Dockerfile, image: str) -> int | None:
    def short(name: str) -> str:
        name = re.sub(r"^(?:docker\.io/)?(?:library/)?", "", name.partition("@")[0])
        return name.removesuffix(":latest")

    if dockerfile.frontend and short(dockerfile.frontend[0]) == short(image):
        return dockerfile.frontend[1]
    for stage in dockerfile.stages:
        if short(stage.image) == short(image):
            return stage.line
    for one in dockerfile.instructions:
        used = re.search(r"(?:--from=|\bfrom=)([^\s,]+)", one.text)
        if used and short(used[1]) == short(image):
            return one.line
    return None


def _line_by_number(dockerfile: Dockerfile, step: str) -> int | None:
    """The line of ``[NAME 2/4]``: the stage's second instruction that makes a layer."""
    match = re.match(r"\[(?:(\S+) +)?(\d+)/(\d+)\] ", step)
    if match is None:
        return None
    stages: list[tuple[str, list[int]]] = []
    for one in dockerfile.instructions:
        if one.keyword == "FROM":
            stages.append((dockerfile.stages[len(stages)].name or f"stage-{len(stages)}", [one.line]))
        elif stages and one.keyword in ("RUN", "COPY", "ADD", "WORKDIR"):
            stages[-1][1].append(one.line)
    for name, lines in stages:
        if (match[1] or name).lower() == name and len(lines) == int(match[3]) and int(match[2]) <= len(lines):
            return lines[int(match[2]) - 1]
    return None


def _directives(lines: list[str]) -> dict[str, tuple[str, int]]:
    """The directives at the top, which look like comments, each with its line."""
    found: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines):
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None and not (number == 0 and line.startswith("#!")):
            break
        if match is not None:
            found.setdefault(match[1].lower(), (match[2], number + 1))
    return found


def _instructions(lines: list[str], escape: str) -> list[Instruction]:
    continued = re.compile(rf"(?:(?<=[^{re.escape(escape)}])|^){re.escape(escape)}[ \t]*$")
    found: list[Instruction] = []
    at = 0
    while at < len(lines):
        first, text, goes_on = at, "", True
        while goes_on and at < len(lines):
            line = lines[at]
            at += 1
            if line.lstrip().startswith("#") or not line.strip():
                if not text:
                    break
                continue  # a comment or an empty line in between
            line = line if text else line.lstrip()
            match = continued.search(line)
            goes_on = match is not None
            text += line[: match.start()] if match else line
        if not text.strip():
            continue
        words = re.split(r"\s+", text.strip(), maxsplit=1)
        keyword, rest = words[0].upper(), words[1] if len(words) > 1 else ""
        if keyword in ("RUN", "COPY", "ADD", "ONBUILD"):
            for heredoc in _heredocs(rest):
                ends = (line.lstrip("\t") if heredoc[1] else line for line in lines[at:])
                # Without its end it is none, but a part of a longer word, as in a quoted script.
                at += next((number for number, line in enumerate(ends, 1) if line == heredoc[3]), 0)
        found.append(Instruction(keyword, rest, first + 1, at))
    return found


def _heredocs(text: str) -> list[re.Match[str]]:
    try:
        words = shlex.split(text, posix=False)
    except ValueError:
        words = text.split()
    return [match for word in words for match in [_HEREDOC.fullmatch(word)] if match]


def _flags(text: str) -> tuple[list[str], str]:
    """The flags at an instruction's beginning, and the rest."""
    flags = []
    while match := re.match(r"--(\S+)(?:\s+|$)", text):
        flags.append(match[1])
        text = text[match.end() :]
    return flags, text


def _sources(instruction: Instruction) -> list[str] | None:
    """What an instruction reads of the context; None where that can't be told, and "" where it is all of it."""
    if instruction.keyword == "ONBUILD":
        return None
    flags, rest = _flags(instruction.text)
    if instruction.keyword == "RUN":
        return _mounted(flags)
    if instruction.keyword not in ("COPY", "ADD"):
        return []
    if any(flag.startswith("from=") for flag in flags):
        return []
    words = rest.split()
    if rest.startswith("["):
        try:
            words = json.loads(rest)
        except ValueError:
            return None
        if not all(isinstance(word, str) for word in words):
            return None
    elif re.search(r"[\"'\\`]", re.sub(r"<<-?(['\"])\w+\1", "", rest)):
        return None  # a quoted or an escaped name
    found: list[str] = []
    for word in words[:-1]:
        if _HEREDOC.fullmatch(word) or (instruction.keyword == "ADD" and re.match(_REMOTE, word)):
            continue
        if "$" in word:
            return None
        found.append(_normalized(word))
    return found


def _mounted(flags: list[str]) -> list[str] | None:
    found: list[str] = []
    for flag in flags:
        name, _, value = flag.partition("=")
        if name != "mount":
            continue
        options = dict(part.partition("=")[::2] for part in value.split(","))
        options = {key.lower(): one for key, one in options.items()}
        if "$" in value or '"' in value:
            return None
        if options.get("type", "bind") != "bind" or options.get("from"):
            continue
        # It takes no pattern: a name with a wildcard in it is that very name.
        source = _normalized(options.get("source") or options.get("src") or "")
        if re.search(r"[*?\[\\]", source):
            return None
        found.append(source)
    return found


def _normalized(path: str) -> str:
    """A path of the context; "" is its root."""
    return posixpath.normpath("/" + path).lstrip("/")


def _stages(instructions: tuple[Instruction, ...], arguments: Mapping[str, str]) -> list[Stage]:
    values: dict[str, str] = {}
    found: list[Stage] = []
    for one in instructions:
        if one.keyword == "ARG" and not found:
            for match in re.finditer(r"(?:^|\s)(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?", one.text):
                value = arguments.get(match[1], (match[2] or "").strip("\"'"))
                values[match[1]] = _replaced(value, values)
        elif one.keyword == "FROM":
            flags, rest = _flags(one.text)
            words = rest.split()
            platform = next((flag.partition("=")[2] for flag in flags if flag.startswith("platform=")), "")
            name = words[2].lower() if len(words) > 2 and words[1].lower() == "as" else ""
            found.append(
                Stage(name, _replaced(words[0] if words else "", values), one.line, _replaced(platform, values))
            )
    return found


def _replaced(text: str, values: Mapping[str, str]) -> str:
    """The text with the variables in it that are known."""

    def value(match: re.Match[str]) -> str:
        return values.get(match[1] or match[2]) or match[3] or match[0]

    return re.sub(r"\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\})", value, text)
