"""Symbolic links of the code that lead elsewhere or to nothing in a container."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from toolkit.build.code.files import CodeFile

_MOST_NAMED = 5
_MOST_HOPS = 40
"""Links that are followed, as by Linux."""


def warn_of_links(files: Sequence[CodeFile], code: Container[str], warn: Callable[[str], None]) -> None:
    """Names the links that a container follows to something else than this machine does, or to nothing.

    Args:
        files: the links. code: the paths of all the code. warn: gets a sentence for each, and one for all that are more than a few.
    """
    links = {file.path: file.target for file in files}
    wrong = [(file, found) for file in files if (found := _leads_to(file.path, links, code)) != "code"]
    for file, found in wrong[:_MOST_NAMED]:
        if found == "outside":
            warn(
                f"{file.path} is a link to {file.target}, outside of the project: in a container it may lead to another file or to "
                "none"
            )
        elif found == "circle":
            warn(f"{file.path} leads to nothing: it is a link to {file.target}, and such links lead round in a circle")
        elif os.path.exists(file.source):
            warn(
                f"{file.path} leads to nothing in a container: it is a link to {file.target}, which is left out of the code"
            )
        else:
            warn(f"{file.path} leads to nothing: it is a link to {file.target}")
    if more := wrong[_MOST_NAMED:]:
        warn(f"and {len(more)} more links lead out of the project or to nothing, such as {more[-1][0].path}")


def _leads_to(
    path: str, links: dict[str, str], code: Container[str]
) -> Literal["code", "outside", "nothing", "circle"]:
    """Where a path leads in a container, link by link."""
    rest = path.split("/")[::-1]
    at: list[str] = []
    hops = 0
    while rest:
        name = rest.pop()
        if name in ("", "."):
            continue
        if name == "..":
            if not at:
                return "outside"
            at.pop()
            continue
        here = "/".join([*at, name])
        target = links.get(here)
        if target is None:
            if here not in code:
                return "nothing"
            at.append(name)
            continue
        hops += 1
        if hops > _MOST_HOPS:
            return "circle"
        if target.startswith("/"):
            return "outside"
        rest += target.split("/")[::-1]
    return "code"
