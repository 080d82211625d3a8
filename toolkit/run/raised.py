"""The sentences for what a pipeline's file raised while it was described."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.build import left_out
from toolkit.build.environment.dependencies.search import find_dependencies
from toolkit.build.reference import parse_reference
from toolkit.config.located import shown
from toolkit.errors import BadInput
from toolkit.project import Project

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DescribeResponse

_PACKAGES = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "Crypto": "pycryptodome",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "git": "GitPython",
    "jwt": "PyJWT",
    "PIL": "Pillow",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}
"""The package of a well-known module that has another name."""
_NO_CODE = (".git", ".toolkit", ".venv", "__pycache__", "site-packages")


def raised_error(project: Project, answer: DescribeResponse, file: str, python: str) -> BadInput:
    """What the user is told of an answer that has ``raised``.

    Args:
        file: the pipeline's. python: the interpreter of plain processes; empty where an image was asked.
    """
    place = shown_place(project, answer, file)
    if answer.get("module"):
        return BadInput(_missing_module(project, answer, python), place)
    text = f"the file raised {answer['raised']} while it was described{_lack(project, answer, python)}"
    return BadInput(f"{text}\n{answer['traceback'].rstrip()}", place)


def shown_place(project: Project, answer: DescribeResponse, file: str) -> str:
    """The file and line of an answer as messages show them; the pipeline's file where it has none."""
    place = answer.get("place")
    if place is None:
        return f"{file}:{answer['line']}" if answer.get("line") else file
    return shown(project.root / place)


def _lack(project: Project, answer: DescribeResponse, python: str) -> str:
    """A clause on what is not there while a pipeline is described, where the exception says that it is missing."""
    if "variable" in answer:
        return (
            f", where the environment variable {answer['variable']} is not set: secrets are given to the steps that declare them, "
            "and other variables are set in executor.config.environment"
        )
    if answer.get("network") and not python:
        return ", which is done without a network: let a step do it"
    if "attempted relative import with no known parent package" in answer["raised"]:
        return ", because its folder is the project's root and so no package: set build.context to the folder above it"
    path = Path(answer.get("path", ""))
    if any(path.is_relative_to(volume.mount_path) for volume in project.config.executor.config.persistent_volumes):
        return ", which is done without volumes: let a step do it"
    return ""


def _missing_module(project: Project, answer: DescribeResponse, python: str) -> str:
    module = answer["module"]
    top = module.partition(".")[0]
    own = next(iter(_own_modules(project.root, top)), None)
    if own is not None and (
        module != top or Path(own).parent in (Path(), Path("src"), Path(answer.get("place", "")).parent)
    ):
        return f"the project's code has no module {module} where it is run (does .dockerignore leave it out?)"
    if own is not None:
        return (
            f"there is no module {module} in the project's root, in src or beside the pipeline's file, where modules are imported "
            f"from; the project has {own}: import it by its path from there, or name its folder in PYTHONPATH in "
            "executor.config.environment"
        )
    if top == "toolkit":
        return f"the SDK has no module {module}: all of it is in toolkit"
    if top in sys.stdlib_module_names:
        return (
            f"the standard library of {python or 'the image'} has no module {module}: another version of Python has it, or a "
            "system package"
        )
    package = _PACKAGES.get(top, top)
    if python:
        return (
            f"{python} has no module {module}: install {package} into its environment, or activate the one that has it"
        )
    return f"the image has no module {module}: {_addition(project, package)}"


def _addition(project: Project, package: str) -> str:
    """Where a package has to be named so that the image has it."""
    build, image = project.config.build, project.config.executor.config.image
    if image and parse_reference(image, "image").names_an_image:
        return f"choose an executor.config.image that has {package}"
    if build.lock == "none":
        return f"build.lock is none, so nothing is installed: let it name a lock that has {package}"
    try:
        lock = find_dependencies(project.root, build, lambda _: None)
    except BadInput:
        return f"add {package} to what the project locks"
    if lock.file is not None and lock.file.endswith("uv.lock"):
        return f"add {package} to the project (`uv add {package}`)"
    if lock.file is not None:
        return f"add {package} to {lock.file}"
    return f"write a requirements.txt with {package} in the project's root"


def _own_modules(root: Path, name: str) -> list[str]:
    """The project's modules and packages of a name, relative to its root."""
    found = []
    for folder, folders, files in os.walk(root):
        if name in folders and any(entry.endswith(".py") for entry in os.listdir(Path(folder, name))):
            found.append(os.path.relpath(Path(folder, name), root))
        if f"{name}.py" in files:
            found.append(os.path.relpath(Path(folder, f"{name}.py"), root))
        folders[:] = left_out.others([entry for entry in folders if entry not in _NO_CODE], str(root), folder)
    return sorted(found)
