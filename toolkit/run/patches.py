"""Patches of tasks, from a file that ``--patch`` names or from the configuration, with the files that they give.

The files' contents travel with the plan, so that a step finds them in every environment.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.config.decode import decode, expect_mapping
from toolkit.config.load import patch_locations
from toolkit.config.located import read_yaml, shown
from toolkit.config.rules import RULES
from toolkit.config.settings import Patch, PatchFile
from toolkit.errors import BadInput

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import PatchRow

MOST_BYTES = 512 * 1024
"""Of all files of all patches together: the plan is read by each step, and a cluster takes 1 MiB of it at most."""


def read_patches(path: Path) -> tuple[dict[str, PatchRow], dict[str, str]]:
    """The patches of a YAML or JSON file by tasks' paths or names, and where each stands (see :func:`patch_locations`).

    Raises:
        BadInput: with file and line: the file is none of patches, or a file that it names can't be read.
    """
    tree = read_yaml(path)
    patches = {}
    for name, entry in expect_mapping(tree, "a file of patches").items():
        patches[name] = Patch() if entry.value is None else decode(entry, Patch, name, RULES)
    if not patches:
        raise BadInput("this file has no patches: it maps a step to what it returns and puts", tree.where)
    places = patch_locations(tree)
    return rows_of(patches, places, path.parent), places


def rows_of(patches: Mapping[str, Patch], places: Mapping[str, str], folder: Path) -> dict[str, PatchRow]:
    """Patches as records hold them.

    Args:
        places: where each stands, for messages. folder: what the paths of files are relative to.

    Raises:
        BadInput: a patch says too little or too much, or a file can't be read or is too large.
    """
    rows: dict[str, PatchRow] = {}
    size = 0
    for name, patch in patches.items():
        place = places.get(name)
        if patch.command is not None:
            if patch.returns is not None or patch.files is not None:
                raise BadInput(
                    f"the patch of {name!r} has a command, whose returns and files count: give the command alone, or returns "
                    "and files",
                    place,
                )
            rows[name] = {"command": patch.command}
            continue
        returns = patch.returns or {}
        try:
            json.dumps(returns, allow_nan=False)
        except ValueError:
            raise BadInput(f"the patch of {name!r} returns a number that JSON does not have", place) from None
        contents = {
            key: _content(name, key, file, places.get(f"{name}: files: {key}", place), folder)
            for key, file in (patch.files or {}).items()
        }
        size += sum(map(len, contents.values()))
        if size > MOST_BYTES:
            raise BadInput(
                f"the files of all patches have more than {MOST_BYTES // 1024} KiB together, and they travel with the plan: give "
                "smaller ones, or patch the step with a command that makes them",
                place,
            )
        rows[name] = {
            "returns": returns,
            "files": {key: base64.b64encode(content).decode("ascii") for key, content in contents.items()},
        }
    return rows


def _content(name: str, key: str, file: PatchFile, place: str | None, folder: Path) -> bytes:
    if (file.path is None) == (file.text is None):
        raise BadInput(f"the file {key!r} in the patch of {name!r} has either a path or a text", place)
    if file.text is not None:
        return file.text.encode()
    assert file.path is not None
    path = folder / file.path
    try:
        if not path.is_file():
            raise BadInput(
                f"the file {key!r} in the patch of {name!r} is {shown(path)}, and there is no such file: for the content itself, "
                f"write {key}: {{text: …}}",
                place,
            )
        with path.open("rb") as stream:
            return stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise BadInput(
            f"the file {key!r} in the patch of {name!r}, {shown(path)}, can't be read: {reason}", place
        ) from None
