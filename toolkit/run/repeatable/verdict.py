"""The verdict on one request for a description: whether its answer depends on the image and its environment variables alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from toolkit.run.repeatable.modules import ProjectModules
from toolkit.run.repeatable.reader import CodeReader, Obstacle
from toolkit.runtime.shared.protocol import WORKSPACE

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DescribeRequest


def obstacle(root: Path, request: DescribeRequest, environment: Mapping[str, str]) -> str:
    """What in the project's code keeps the answer from being repeatable, as a clause with file and line; empty for nothing.

    Args:
        root: the project's. environment: the variables that the code finds beside the image's own.
    """
    roots = [*request["roots"], *_folders_of(environment.get("PYTHONPATH", ""))]
    reader = CodeReader(root, ProjectModules(root, roots))
    try:
        if request["file"] is not None:
            module = reader.run_file(root / request["file"], request.get("package", ""))
            if request["name"] is not None:
                reader.call_named(module, request["name"])
        else:
            for dotted in request["functions"]:
                reader.read_function(dotted)
    except Obstacle as found:
        return str(found)
    except RecursionError:
        return f"{request['file'] or 'the code of the functions'} can't be read here"
    return ""


def _folders_of(python_path: str) -> list[str]:
    """The folders of PYTHONPATH that are the project's, relative to its root."""
    paths = [PurePosixPath(WORKSPACE, entry) for entry in python_path.split(":") if entry]
    return [str(path.relative_to(WORKSPACE)) for path in paths if path.is_relative_to(WORKSPACE)]
