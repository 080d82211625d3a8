"""What a file of requirements means, as pip and uv read it."""

from __future__ import annotations

import re

from toolkit.build.environment.dependencies.requirements import decoded, logical_lines
from toolkit.build.environment.meaning.parts import Parts, of_package, of_value, requirement, without_credentials

_AMBIGUOUS = r"(?m)(?:^|\s)#.*\\\s*$|[\x00\x0b\x0c\x1c-\x1e\x85\u2028\u2029]|\r(?!\n)"
"""A comment that ends with a backslash, and what is the end of a line to some readers alone: pip and uv differ there."""


def of_requirements_file(name: str, content: bytes) -> Parts:
    """The parts of a file of requirements. Their order says nothing; that of the options does.

    Raises:
        ValueError: it can't be said what it means.
    """
    text = decoded(content, name)
    if re.search(_AMBIGUOUS, text):
        raise ValueError("a comment that ends with a backslash")
    found: dict[str, list[tuple[str, list[str]]]] = {}
    options: list[str] = []
    for _, _, line in logical_lines(text):
        if not line:
            continue
        if line.startswith("-"):
            option = re.sub(r"\s+", " ", re.sub(r"^(--?[A-Za-z-]+)(?:\s*=\s*|\s+)", r"\1 ", line))
            options.append(str(without_credentials(option)))
            continue
        words = re.split(r"\s(?=--?[A-Za-z])", line)
        package, rest = requirement(words[0])
        extra = [re.sub(r"[=\s]+", " ", one.strip(), count=1) for one in words[1:]]
        hashes = sorted(one for one in extra if one.startswith("--hash "))
        others = [one for one in extra if not one.startswith("--hash ")]
        found.setdefault(package, []).append((rest, [*hashes, *others]))
    parts = {}
    for package, listed in found.items():
        shown = " | ".join(sorted({rest for rest, _ in listed}))
        details = sorted(listed)
        has_more = any(words for _, words in listed) or len(shown) > 100
        parts[f"{name}: {package}"] = of_package(shown[:100], details) if has_more else of_value(shown)
    if options:
        parts[f"{name}: options of the file"] = of_value(options)
    return {f"{name}": "", **parts}
