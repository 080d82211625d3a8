"""What a get that has found nothing could have meant: which files there are, in words. Only a step that fails needs it."""

from __future__ import annotations

import re

from .catalog import is_pattern, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .documents import CatalogEntry

    Sources = Mapping[str, Sequence[tuple[CatalogEntry, str]]]
    """As in ``scope.py``: by the name of a file, who put it."""

_POSITIONS = re.compile(r"(?:[0-9]+/)+")
_MOST = 3
"""Names in a message."""


def what_is_there(name: str, own: Sources, visible: Sources, of_step: bool) -> str:
    """The end of the sentence that a step gets what is not there: which similar files are, or else which files at all.

    Args:
        name: the key, normalised. own: the files that the get looked at. visible: all that the step can get.
        of_step: whether the get names a step, so that ``own`` is that step's alone.
    """
    of_items = _forms_of_items(name, own) or _forms_of_items(name, visible)
    if of_items:
        return f"; items of a map put it: get {of_items}"
    if name in visible:
        return f"; {visible[name][0][1]} put it"
    before, colon, key = name.rpartition(":")
    if colon and key in visible:
        return f"; {visible[key][0][1]} put {key}, and {before!r} is no step that this one can name"
    near = _near(name, own) or _near(name, visible)
    if near:
        return f"; there is {_listed(near)}"
    if not own:
        return "; it put nothing" if of_step else "; they put nothing"
    return f"; there is {_listed(sorted(own))}"


def _forms_of_items(name: str, names: Iterable[str]) -> str:
    """How the files of a map's items are got, if those are what a key means; else empty."""
    for file in sorted(names):
        positions = _POSITIONS.match(file)
        if positions is None:
            continue
        inner = file[positions.end() :]
        all_items = "*/" * positions.group().count("/") + name
        if is_pattern(name) and matches(name, inner):
            return f"{positions.group()}{name} (of that item) or {all_items} (of all items)"
        if inner == name:
            return f"{file} (of that item) or {all_items} (of all items)"
        if inner.startswith(name + "/"):
            return f"{positions.group()}{name} (of that item) or {all_items}/** (of all items)"
    return ""


def _near(name: str, names: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    known = sorted(names)
    last = name.rpartition("/")[2]
    same = [file for file in known if file.rstrip("/").rpartition("/")[2] == last]
    return list(dict.fromkeys([*same, *get_close_matches(name, known, _MOST, 0.7)]))


def _listed(names: list[str]) -> str:
    shown = names[:_MOST]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
