"""Why the build of an environment failed: the tool's own words out of BuildKit's output, and the one sentence for the user."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from toolkit.build.environment.base_image import is_absent
from toolkit.build.environment.causes import BUILD_SETTING, CAUSES, PACKAGES, Cause
from toolkit.build.environment.dependencies.found import foreign_distribution_error
from toolkit.build.environment.dependencies.remedies import writing_again
from toolkit.build.environment.dockerfile import Dockerfile, faulty_instruction
from toolkit.build.environment.places import FaultyRequirement
from toolkit.errors import BadInput, Infrastructure, ToolkitError

# pip's warning of an attempt that another one follows. The last attempt has no further one left (total=0).
_RETRY_WARNING = re.compile(r"^.*Retrying \(Retry\(total=[1-9].*$", re.MULTILINE)
_STEP = re.compile(r"#(\d+) (?:(\d+\.\d+) ?)?(.*)")
"""A line of BuildKit's plain output: the step's number, the seconds since it began where the words are the step's own."""
_FACT = "toolkit-"
"""The beginning of a line that the build's own files print (dockerfiles/why.py), for this module alone."""
_LONGEST = 400
"""Characters of a tool's own words in the sentence. All of them are in the log."""
_LAST = 5000
"""Lines at the end of a tool's own words that causes are looked for in."""
_SHOWN = 10
"""Lines of a tool's own words that are shown above the sentence, of at most :data:`_WIDEST` characters each."""
_WIDEST = 200


def own_words(text: str) -> str:
    """What the step that failed printed itself, without BuildKit's prefixes and wrapper lines.

    All that is no wrapper where no step failed: BuildKit's own error then.
    """
    failed = {match[1]: match[2] for match in re.finditer(r"^#(\d+) ERROR:? ?(.*)", text, re.MULTILINE)}
    lines = []
    for line in text.splitlines():
        step = _STEP.fullmatch(line)
        if step is None:
            if not failed and line.strip() and not line.startswith(("------", " > [", "executor failed running")):
                lines.append(re.sub(r"^ERROR: (?:failed to (?:build|solve): )+", "", line))
        elif step[2] is not None and (not failed or step[1] in failed):
            lines.append(step[3].rpartition("\r")[2])
    for wrapper in failed.values():
        if not wrapper.startswith(("executor failed", "process ")):
            lines.append(wrapper)  # BuildKit's own: a disk that is full, a base that is not there
    code = re.search(r"(?:executor failed running|did not complete successfully).*exit code: (\d+)", text)
    if code:
        lines.insert(0, f"{_FACT}exit: {code[1]}")
    return "\n".join(lines) + "\n"


def shown_words(text: str) -> list[str]:
    """The lines of the tool's own words that a user sees above the sentence."""
    lines = [line.rstrip() for line in own_words(text).splitlines() if not line.startswith(_FACT)]
    lines = [
        line for line in _RETRY_WARNING.sub("", "\n".join(lines)).splitlines() if line.strip() and not _is_chatter(line)
    ]
    return [line if len(line) <= _WIDEST else line[: _WIDEST - 1] + "…" for line in lines[-_SHOWN:]]


_CHATTER = (
    # pip, uv and apt on what they do, and what they say around an error.
    r"Collecting |Downloading |Using cached |Requirement already|Preparing metadata|Looking in |Resolved |Using Python |\[notice\]",
    r"(?:Get|Hit|Ign):\d|Fetched |Reading |Building dependency",
    r"note: This (?:error|is an issue)|hint: See|hint: Build failures usually|╰─> See above|\[end of output\]|\[std(?:err|out)\]$",
    r"│ exit code|To fix this you could try|[12]\. (?:loosen|remove)|ERROR: Ignored the following",
    r"error: (?:subprocess-exited|metadata-gen|legacy-inst)|× (?:git clone|Encountered error)",
    # What a build of a package prints: tracebacks, commands of a compiler, warnings of setuptools.
    r"Traceback|File \"|[\^~!* |]+$|\S*-linux-gnu-g|running |copying |creating |\S*: Setuptools\w*Warning",
    r".*License ::|Please consider removing|See https://packaging|self\._finalize_license",
)


def _is_chatter(line: str) -> bool:
    return re.match(rf"\s*(?:{'|'.join(_CHATTER)})", line) is not None


def is_transient_failure(text: str) -> bool:
    """Whether the build failed only by a network that may work again a moment later, as its output shows."""
    cause = _cause(_final(text))
    return cause is not None and cause[0].kind == "passing"


def explain_failure(
    text: str,
    base: str,
    lock: str | None,
    packages: tuple[str, ...] = (),
    log: str = "",
    origins: Mapping[str, str] | None = None,
) -> ToolkitError:
    """The error of a failed build, from its output: one sentence that names the file and what to do.

    Args:
        base: the base image's reference. lock: the file that the dependencies are declared in.
        packages: those of ``build.system_packages``. log: the file with the whole output.
        origins: what names an index or its credentials, by the index's host.
    """
    location = lock or base
    whole = f" (the whole log: {log})" if log else ""
    if "toolkit-refused:" in text.replace('echo "toolkit-refused:', ""):
        return foreign_distribution_error(location)
    said = re.findall(r"toolkit-says: (.+)", text)
    if said:
        return BadInput(said[-1].strip() + whole, location)
    words = _final(text)
    found = _cause(words)
    if found is None:
        last = _last_line(words)
        if re.search(r"^toolkit-exit: \d", words, re.MULTILINE):
            return BadInput(f"the dependencies can't be installed on {base}: {last}{whole}", location)
        return Infrastructure(f"BuildKit failed: {last}{whole}")
    cause, match = found
    values = _values(match, words)
    wanted = re.findall(r"(?:user requested|you require) ([^\s;]+)", values.get("conflict", ""))
    named = values.pop("named", "") or (
        wanted[-1].rstrip(".,") if wanted else "" if "conflict" in values else _at_fault(words)
    )
    values.setdefault("words", _last_line(words))
    values |= {"package": named or "a package", "base": base, "file": lock or "the lock"}
    values["index"] = "channel" if re.search(r"\brattler\b", words) else "package index"
    values["rewrite"] = writing_again(lock or "", named)
    values |= _derived(values, named, words, packages)
    values["login"] = _login(values["words"], origins or {})
    # A name in braces that is none of these is meant as it is: a variable in an address.
    sentence = re.sub(r"\{(\w+)\}", lambda key: values.get(key[1], key[0]), cause.sentence) + whole
    if cause.kind != "input":
        return Infrastructure(sentence)
    if cause.setting:
        return BadInput(sentence)
    needed_by = re.search(r"was included because `([^`]+)`", words)
    return FaultyRequirement(sentence, location, named, needed_by[1] if needed_by else "")


def explain_command(text: str, command: str, where: str | None, log: str) -> ToolkitError:
    """The error of a command of the user's own that failed in a build: its own last words, or what is wrong with the machine.

    Args:
        text: the build's whole output. command: names it, for the sentence. log: the file with the whole output.
    """
    words = _final(text)
    found = _cause(words)
    if found is not None and found[0].kind != "input":
        error = explain_failure(text, "", None, (), log)
        return Infrastructure(f"{command} failed: {error.message}", where)
    ended = re.search(r"^toolkit-exit: (\d+)", words, re.MULTILINE)
    code = f" with exit code {ended[1]}" if ended else ""
    return BadInput(f"{command} failed{code}: {_last_line(words)} (the whole log: {log})", where)


def explain_own_dockerfile(
    text: str, dockerfile: Dockerfile, file: str, log: str, added: bool = False, root: Path | None = None
) -> ToolkitError:
    """The error of a user's own Dockerfile that can't be built, with the line at fault.

    Args:
        text: the build's whole output. file: the Dockerfile, and ``root`` the project's root. log: as of :func:`explain_command`.
        added: as of :func:`faulty_instruction`.
    """
    line, instruction, image = faulty_instruction(text, dockerfile, added)
    where = f"{file}:{line}" if line is not None else file
    said = re.search(r"^#\d+ ERROR:? (.*)", text, re.MULTILINE)
    reason = said[1].strip() if said else _last_line(_final(text))
    if image:
        if is_absent(reason):
            return BadInput(
                f"the image {image} does not exist, or needs a login ({reason}): correct its name, or `docker login`",
                where,
            )
        return Infrastructure(
            f"the image {image} is not on this engine, and its registry cannot be reached ({_cut(reason)}): check the network, or "
            f"start from an image that this engine has (the whole log: {log})",
            where,
        )
    missing = re.search(
        r'"/?([^"]+)":? not found|no source files were specified|lstat (?:\S*/)?(\S+): no such file', reason
    )
    if missing:
        name = missing[1] or missing[2] or "what it names"
        there = root is not None and (root / name).exists()
        why = ".dockerignore or a rule of toolkit leaves it out" if there else "there is no such file"
        return BadInput(f"{_shortened(instruction)}: {name} is not in the build's context: {why}", where)
    if re.search(r"^#\d+ ERROR:? (?:executor failed|process )", text, re.MULTILINE) or not instruction:
        command = _shortened(instruction) if instruction else "the build"
        if line is not None and not said:
            return BadInput(_without_prefix(_last_line(_final(text))), where)
        return explain_command(text, command, where, log)
    if line is not None and not said:
        return BadInput(_without_prefix(_last_line(_final(text))), where)
    return explain_command(text, _shortened(instruction), where, log)


def _without_prefix(words: str) -> str:
    """BuildKit's word on a line, without where it came from."""
    return re.sub(r"^.*(?:parse error (?:on )?line \d+|failed to create LLB definition|failed to solve): ", "", words)


def _shortened(instruction: str) -> str:
    words = " ".join(re.sub(r"--mount=\S+ ", "", instruction).split())
    return words if len(words) <= 80 else f"{words[:79]}…"


def _final(text: str) -> str:
    """What causes are looked for in: no more of it than takes a moment."""
    lines = _RETRY_WARNING.sub("", own_words(text)).splitlines()
    lines = lines[:1] + lines[1:][-_LAST:]  # the first is how the step ended
    return "".join((line if len(line) <= 4000 else f"{line[:3000]}…{line[-1000:]}") + "\n" for line in lines)


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(cause.pattern, re.MULTILINE) for cause in CAUSES)


def _cause(words: str) -> tuple[Cause, re.Match[str]] | None:
    for cause, pattern in zip(CAUSES, _patterns(), strict=True):
        match = pattern.search(words)
        if match:
            return cause, match
    return None


def _values(match: re.Match[str], words: str) -> dict[str, str]:
    """A match's named groups. The digits at a name's end tell alternatives apart."""
    values: dict[str, str] = {}
    for name, value in match.groupdict().items():
        if value and value.strip():
            values.setdefault(name.rstrip("0123456789"), _cut(_without_passwords(" ".join(value.split()))))
    if "named" in values:
        values["named"] = values["named"].strip("`'\".,:").partition(" @ ")[0]
    return values


def _without_passwords(text: str) -> str:
    return re.sub(r"://[^/@\s]*@", "://***@", text)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _derived(values: dict[str, str], named: str, words: str, packages: tuple[str, ...]) -> dict[str, str]:
    """What a sentence names that no pattern captures."""
    derived: dict[str, str] = {"only": ""}
    needs = {"C": "gcc", "CXX": "g++"}.get(values.get("needs", ""), values.get("needs", ""))
    derived["needs"] = needs
    derived["add"] = PACKAGES.get(needs or "gcc", needs)
    for kind, what in (("header", "header"), ("module", "module of pkg-config"), ("library", "library")):
        name = values.get(kind, "")
        package = next(
            (PACKAGES[one] for one in (name, name.rpartition("/")[2], name.split("/")[0]) if one in PACKAGES), None
        )
        derived[f"{kind}_remedy"] = (
            f"add to {BUILD_SETTING}: [{package}]"
            if package
            else f"add the Debian package that has this {what} to {BUILD_SETTING} (packages.debian.org finds it by its contents)"
        )
    apt = values.get("apt", "")
    # A package that no setting names is one that the build itself needs.
    derived["setting"] = "build.system_packages" if not packages or _names(apt, packages) else BUILD_SETTING
    if values.get("words") and not values["words"].startswith("ERROR"):
        derived["only"] = f", only for {values['words'].replace('`', '')}"
    conflict = values.get("conflict", "").removeprefix("Because ")
    conflict = re.sub(r",? ?we can conclude that your requirements are unsatisfiable\.?$", "", conflict)
    derived["conflict"] = re.sub(r"(?<=\S) (?=The user requested|\S+ \S+ depends on)", "; ", conflict) or _last_line(
        words
    )
    derived["no_version"] = _no_version(named, values.get("versions", ""))
    derived["exception"] = _exception(words)
    return derived


def _login(address: str, origins: Mapping[str, str]) -> str:
    """What to do about the credentials of an index, whose address stands in a text."""
    named = next((name for host, name in origins.items() if host and host in address), "")
    if named:
        return f"correct {named}"
    return (
        "put them into ~/.netrc, into the address as ${NAME}, or, for an index NAME of uv's, into UV_INDEX_NAME_USERNAME and "
        "UV_INDEX_NAME_PASSWORD"
    )


def _names(package: str, packages: tuple[str, ...]) -> bool:
    return any(re.split("[:=]", one)[0] == re.split("[:=]", package)[0] for one in packages)


def _no_version(named: str, versions: str) -> str:
    if not versions or versions == "none":
        return f"the package index has no {named} for this platform and Python: correct the name, or name the index that has it"
    latest = versions.split(", ")[-1]
    return f"the package index has no such version of {named} (the latest for this Python is {latest}): name one that exists"


def _at_fault(words: str) -> str:
    """The package that was being installed, as the tool names it; "" where it does not say."""
    for pattern in (
        r"Failed to (?:build|download and build|download|read|prepare)[^`\n]*`([^`\n]+)`",
        r"(?:Failed building wheel for|Could not build wheels for) ([\w.-]+)",
        r"╰─> ([A-Za-z0-9][\w.-]*)$",
        r"No matching distribution found for (\S+)",
    ):
        found = re.findall(pattern, words, re.MULTILINE)
        if found:
            return str(found[-1]).partition(" @ ")[0]
    # pip says what it takes up before it says that this failed.
    taken = re.findall(r"^\s*(?:Collecting|Processing|Obtaining|Building wheel for) (\S+)", words, re.MULTILINE)
    return _without_passwords(taken[-1].rstrip("@")) if taken else ""


_TOLD = (
    r"\S+:\d+:\d+: (?:fatal )?(?:error|ERROR):? .+",  # compilers, Meson
    r"Caused by: .+",  # maturin
    r"CMake Error.*",
    r"(?!\S*CalledProcessError)(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt)\b(?:: .+)?",
    r"[Ee]rror:? (?!subprocess-|legacy-|metadata-|The build backend|Failed to|Command '|command |running maturin).+",
    r"[Ee]rror:? (?!subprocess-|legacy-|metadata-|The build backend|Failed to).+",
)
"""What a build backend says last, and what is closest to the reason first."""


def _exception(words: str) -> str:
    """The last words of a build backend: its compiler's error, its exception, or its last line."""
    lines = [line.strip() for line in words.splitlines()]
    for pattern in _TOLD:
        told = [line for line in lines if re.fullmatch(pattern, line)]
        if told:
            return _cut(told[-1])
    return _last_line(words)


def _last_line(words: str) -> str:
    """The last line that is an error, else the last one."""
    lines = [
        line.strip()
        for line in words.splitlines()
        if line.strip() and not line.startswith(_FACT) and not _is_chatter(line)
    ]
    errors = [line for line in lines if re.match(r"(?:ERROR|error|E|fatal|cause)\b:? ", line)]
    last = (errors or lines or ["it printed nothing"])[-1]
    return _cut(_without_passwords(re.sub(r"^(?:ERROR|error|E|fatal|cause): ", "", last)))
