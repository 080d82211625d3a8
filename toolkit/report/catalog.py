"""What a run has in the catalog: the files that its steps put and the objects that they returned, each with the key that names it.

A plain key means what a `get` of a step after the whole pipeline would be given. What an item of a map put or returned is named
by its position (``0/model.pkl``). What two steps side by side put under one name is named by the path of its step
(``par/left/load/shop.db``).
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toolkit.errors import BadInput, Infrastructure
from toolkit.report.values import counting_attempt
from toolkit.report.view import View
from toolkit.runtime.shared.catalog import StoreFault, is_empty_folder, is_pattern, matches
from toolkit.runtime.shared.layout import folder_name
from toolkit.runtime.shared.scope import Scope
from toolkit.runtime.shared.tree import HANDLER, paths_to
from toolkit.store.states import Row
from toolkit.store.verdict import Attempt

if TYPE_CHECKING:
    from toolkit.report.contract import CatalogFile
    from toolkit.runtime.shared.scope import Sources

PICKLE = ".pkl"
"""A returned object is fetched as a file of its name with this suffix. It is never unpickled on the host."""


@dataclass(eq=False)
class Entry:
    """A file or an object that an attempt left in the catalog.

    Attributes:
        step: the path of its step. attempt: its number. name: as the step put it, or the name under which it was returned.
        outer: the name outside of all maps, with the positions of their items. size: in bytes.
        object: the type of an object; empty for a file.
        is_stored: whether its bytes were stored, and not the hash alone.
        place: where it lies below a folder that holds all that the run has; None where something newer or a file has that place.
        key: what names it in ``toolkit catalog --get`` and ``toolkit fetch``; None where something newer of its step
            has its name: another attempt, or the step's handler.
    """

    step: str
    attempt: int
    name: str
    outer: str
    sha256: str
    size: int
    is_executable: bool = False
    object: str = ""
    is_stored: bool = True
    place: str | None = None
    key: str | None = None

    @property
    def file_name(self) -> str:
        """The name of the file that it is fetched as, where nothing else has that name."""
        return self._file(self.outer)

    @property
    def name_by_step(self) -> str:
        """The name of the file that it is fetched as, where another has the same name."""
        return self._file("/".join([*map(_short, self.step.split("/")), self.name]))

    def _file(self, name: str) -> str:
        if not self.object:
            return name
        folder, slash, last = name.rpartition("/")
        return folder + slash + _short(last, _LONGEST - len(PICKLE)) + PICKLE

    def row(self) -> CatalogFile:
        """As ``--json`` has it."""
        row: CatalogFile = {
            "key": self.key,
            "step": self.step,
            "attempt": self.attempt,
            "name": self.name,
            "sha256": self.sha256,
            "size": self.size,
        }
        if self.is_executable:
            row["executable"] = True
        if self.object:
            row["object"] = self.object
        return row


_LONGEST = 255
"""Bytes of a name that every file system takes."""


def _short(name: str, longest: int = _LONGEST) -> str:
    """A name of a step or of an object as the name of a file. A long one is written as on the volume."""
    return name if len(name.encode("utf-8", "surrogatepass")) <= longest else folder_name(name)


class RunCatalog:
    """What a run has in the catalog.

    Attributes:
        entries: all of it, in the order of the plan; of an attempt, its files are before its objects.

    Raises:
        Infrastructure: only a volume knows it that can't be read.
    """

    def __init__(self, run: View) -> None:
        if run.unread is not None:
            raise Infrastructure(f"what the run {run.id} put into the catalog is unknown: {run.unread}")
        self._run_id = run.id
        self._plan = run.plan
        self._records = run.known_records
        self.entries: list[Entry] = []
        self._at: dict[str, _Below] = {"": _Below()}
        """By the path of a step, of a branch or of an item, and by the empty path of the pipeline."""
        self._maps: dict[str, list[tuple[str, str]]] = {}
        """Of each step, the maps around it, the outermost first, with the positions of the items that it is in."""
        for row in run.rows:
            counting = counting_attempt(row.attempts)
            for attempt in row.attempts:
                self._add(row, attempt, attempt is counting)
        newest = self._newest("")
        self._named = self._names(newest, "")
        self._place(newest)
        for entry in self.entries:
            entry.key = self._key(entry)

    def _add(self, row: Row, attempt: Attempt, counts: bool) -> None:
        self._maps[row.path] = maps = self._maps_around(row.path)
        prefix = "".join(f"{position}/" for _, position in maps)
        is_stored = row.row.get("catalog", {}).get("store_copy", True)
        files, objects = [], []
        returned: list[_Returned] = []
        for file in attempt.end.get("catalog", {}).get("put", ()):
            name, is_executable = file["name"], bool(file.get("executable"))
            there = (row.path, attempt.number, name, prefix + name, file["sha256"], file["size"])
            files.append(Entry(*there, is_executable=is_executable, is_stored=is_stored))
        for name, stored in attempt.end.get("returns", {}).items():
            entry = None
            if stored["kind"] == "object":
                there = (row.path, attempt.number, name, prefix + name, stored["sha256"], stored["size"])
                entry = Entry(*there, object=stored.get("type") or "object")
                objects.append(entry)
            returned.append(_Returned(row.path, prefix + name, attempt.end.get("ended", ""), entry))
        self.entries += [*files, *objects]
        for path in ("", *paths_to(row.path)):
            below = self._at.setdefault(path, _Below())
            below.files += files
            if counts:
                below.counting.update(((row.path, file.name), file) for file in files)
                below.returned += returned

    def _maps_around(self, step: str) -> list[tuple[str, str]]:
        maps = []
        for segment in (self._plan.trail(step) or [])[:-1]:
            position = step[len(segment.path) + 1 :].partition("/")[0]
            if segment.row["type"] == "map" and position != HANDLER:
                maps.append((segment.path, position))
        return maps

    # --- what counts ------------------------------------------------------------------------------------------------

    def _newest(self, path: str) -> list[Entry]:
        """What a step that comes after all that is below a path would find of it: files, then objects."""
        return [*self._newest_files(path), *self._newest_objects(path)]

    def _newest_files(self, path: str) -> list[Entry]:
        below = self._at[path]
        found: dict[str, list[Entry]] = {}
        for name, pairs in self._sources(path).items():
            for _, step in pairs:
                inside = sum(_is_inside(around, path) for around, _ in self._maps[step])
                entry = below.counting.get((step, "/".join(name.split("/")[inside:])))
                if entry is not None:
                    found.setdefault(entry.outer, []).append(entry)
        # What an attempt left that was followed by another, and what no step could get, is not lost either.
        left = {entry.outer: [entry] for entry in below.files if entry.outer not in found}
        return [entry for entries in (*found.values(), *left.values()) for entry in entries]

    def _sources(self, path: str) -> Sources:
        below = self._at[path].files
        try:
            return Scope(self._plan, self._records, below[0].step).files_of(path) if below else {}
        except StoreFault:
            # The items of a map can't be read. Then it is what the steps recorded, in the order of the plan.
            return {}

    def _newest_objects(self, path: str) -> list[Entry]:
        newest: dict[str, _Returned] = {}
        for returned in self._at[path].returned:
            older = newest.get(returned.outer)
            # After a retry a step may have ended after its handler, which is behind it in the plan.
            if older is None or HANDLER not in returned.step.split("/") or older.ended <= returned.ended:
                newest[returned.outer] = returned
        return [returned.object for returned in newest.values() if returned.object is not None]

    def _names(self, entries: Sequence[Entry], path: str) -> dict[str, list[Entry]]:
        """Entries by the names that they have outside of what is below a path. An object has none that a file has."""
        named: dict[str, list[Entry]] = {}
        for entry in entries:
            outside = sum(not _is_inside(around, path) for around, _ in self._maps[entry.step])
            name = "/".join(entry.outer.split("/")[outside:])
            for one in (name, name + PICKLE) if entry.object else (name,):
                there = named.setdefault(one, [])
                if not entry.object or not there:
                    there.append(entry)
        return named

    # --- places and keys --------------------------------------------------------------------------------------------

    def _place(self, newest: Sequence[Entry]) -> None:
        """Gives a place to what a fetch without keys brings. A file of its name wins over an object."""
        files = apart({entry: entry.file_name for entry in newest if not entry.object})
        objects = {entry: entry.file_name for entry in newest if entry.object}
        placed = {**files, **objects}
        without = [entry for entry in clashing(placed) if entry.object]
        by_place: dict[str, list[Entry]] = {}
        for entry, place in placed.items():
            if entry not in without:
                entry.place = place
                by_place.setdefault(place, []).append(entry)
        self._named.update(by_place)

    def _key(self, entry: Entry) -> str | None:
        for key in (entry.place, entry.outer):
            if key is not None and self._named.get(key) == [entry]:
                return key
        for name, there in self._names(self._newest(entry.step), entry.step).items():
            if there == [entry]:
                return f"{entry.step}:{name}"
        return None

    def all(self) -> list[Entry]:
        """What a fetch without keys brings."""
        return [entry for entry in self.entries if entry.place is not None]

    def select(self, key: str) -> list[Entry]:
        """What a key means: a name, a folder or a pattern, also after ``STEP:``, where STEP is a path or a pattern.

        Raises:
            BadInput: nothing. The sentence names what is similar.
        """
        found = self.all() if key == "." else _fitting(key, self._named)
        # Both may contain colons, and the longest path wins.
        ends = [position for position, character in enumerate(key) if character == ":"]
        while not found and ends:
            end = ends.pop()
            found = self._select_of_steps(key[:end], key[end + 1 :])
        if not found:
            raise BadInput(f"the run {self._run_id} has nothing under {key!r} in the catalog: {self._hint(key)}")
        return list(dict.fromkeys(found))

    def _select_of_steps(self, step: str, key: str) -> list[Entry]:
        is_any = is_pattern(step)
        paths = [path for path in self._at if path and (path == step or (is_any and matches(step, path)))]
        found: list[Entry] = []
        for path in paths:
            newest = self._newest(path)
            found += newest if key == "." else _fitting(key, self._names(newest, path))
        return found

    def _hint(self, key: str) -> str:
        keys = list(dict.fromkeys(entry.key for entry in self.entries if entry.key is not None))
        if not keys:
            return "it has put and returned nothing that is there"
        # What an item of a map put is often asked for without its position.
        last = key.rpartition(":")[2]
        near = [other for other in keys if last in (posixpath.basename(other), other.rpartition(":")[2])]
        step = key.partition(":")[0]
        near = near or [entry.key for entry in self.entries if entry.key is not None and _is_inside(entry.step, step)]
        near = near or difflib.get_close_matches(key, keys, n=_MOST_NAMES)
        shown = ", ".join(map(repr, (near or keys)[:_MOST_NAMES]))
        more = len(near or keys) - _MOST_NAMES
        rest = f" and {more} more (`toolkit catalog {self._run_id}` lists them)" if more > 0 else ""
        return f"there is {shown}{rest}"


_MOST_NAMES = 3
"""How many keys a sentence names."""


@dataclass
class _Returned:
    """A value of an attempt that counts: its name outside of all maps, when its step ended, and the object if it is one."""

    step: str
    outer: str
    ended: str
    object: Entry | None


@dataclass
class _Below:
    """What was put and returned below a path, in the order of the plan; of the attempts that count, files by step and name."""

    files: list[Entry] = field(default_factory=list)
    counting: dict[tuple[str, str], Entry] = field(default_factory=dict)
    returned: list[_Returned] = field(default_factory=list)


def _fitting(key: str, named: Mapping[str, list[Entry]]) -> list[Entry]:
    """What a key means among entries by their names. A folder or a pattern means no object beside a file of its name."""
    # A file may have characters of a pattern in its name.
    folder, is_any = key.rstrip("/") + "/", is_pattern(key) and key not in named
    fitting = [name for name in named if name.startswith(folder) or (is_any and matches(key, name))]
    found = [entry for name in fitting for entry in named[name]]
    files = {entry.file_name for entry in found if not entry.object}
    return [*named.get(key, ()), *(entry for entry in found if not entry.object or entry.file_name not in files)]


def _is_inside(step: str, path: str) -> bool:
    """Whether a path is that of a step, or around it."""
    return not path or step == path or step.startswith(path + "/")


# --- names that can't lie in one folder ---------------------------------------------------------------------------------


def clashing(names: Mapping[Entry, str], fold: Callable[[str], str] = posixpath.normpath) -> list[Entry]:
    """What can't lie side by side below one folder: two of one name, or a file whose name is that of another's folder.

    Args:
        fold: gives the same text for names that the file system takes for one.
    """
    at: dict[str, list[Entry]] = {}
    for entry, name in names.items():
        at.setdefault(fold(name), []).append(entry)
    found: dict[Entry, None] = {}
    for name, there in at.items():
        if len(there) > 1 and not all(is_empty_folder(names[entry]) for entry in there):
            found.update(dict.fromkeys(there))
        for parent in paths_to(name)[:-1]:
            above = [entry for entry in at.get(parent, ()) if not is_empty_folder(names[entry])]
            found.update(dict.fromkeys([*above, *there] if above else []))
    return list(found)


def apart(names: Mapping[Entry, str], fold: Callable[[str], str] = posixpath.normpath) -> dict[Entry, str]:
    """The names, where those that can't lie side by side begin with their steps' paths. Some may still be the same."""
    found = dict(names)
    while moved := [entry for entry in clashing(found, fold) if found[entry] != entry.name_by_step]:
        found.update((entry, entry.name_by_step) for entry in moved)
    return found
