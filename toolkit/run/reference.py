"""Which pipeline a command is about: a file, and where needed a name in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from toolkit.backends import volumes
from toolkit.config.located import shown
from toolkit.errors import BadInput
from toolkit.project import Project

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import SourceRecord

_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class PipelineReference:
    """A pipeline by its file.

    Attributes:
        file: absolute. name: of a Pipeline, driver or callable in it. nth: which call of ``execute()`` is meant, from 0.
        arguments: what the file is run with, as a script.
    """

    file: Path
    name: str | None = None
    nth: int | None = None
    arguments: tuple[str, ...] = field(default=())

    @property
    def is_yaml(self) -> bool:
        return self.file.suffix in _YAML

    def relative(self, project: Project) -> str:
        """The file relative to the project's root.

        Raises:
            BadInput: it lies outside, where no image would hold it, or where steps can write.
        """
        if volumes.is_on_volume(project, self.file):
            raise BadInput(
                "this file lies on a volume or in .toolkit, where the steps of any run can write: a pipeline is not run from there",
                shown(self.file),
            )
        try:
            return self.file.resolve().relative_to(project.root).as_posix()
        except ValueError:
            raise BadInput(
                f"{shown(self.file)} lies outside the project {shown(project.root)}: move it there, or set build.context "
                "in the configuration to a folder that holds both"
            ) from None

    def recorded(self, project: Project) -> SourceRecord:
        """How a run's record names the pipeline, so that the run can be resumed."""
        return {
            "file": self.relative(project),
            "name": self.name,
            "nth": self.nth,
            "arguments": list(self.arguments),
        }

    @classmethod
    def of_record(cls, project: Project, record: SourceRecord) -> PipelineReference:
        """The reference that :meth:`recorded` gave, as it was kept.

        Args:
            record: of this machine's own, or of the cluster's ConfigMap, and never of a volume.

        Raises:
            BadInput: the file no longer exists.
        """
        file = project.root / record["file"]
        if not file.is_file():
            raise BadInput(f"the run's pipeline {record['file']} no longer exists: name the pipeline to resume with")
        return cls(file, record["name"], record["nth"], tuple(record["arguments"]))

    def package(self, project: Project) -> str:
        """The dotted name of the package that a file with relative imports is part of, as ``python -m`` sees it; else empty.

        A package reaches as far up as there is an ``__init__.py``. Without any, it begins at ``src`` or at the project's root.
        """
        folder = PurePosixPath(self.relative(project)).parent
        if self.is_yaml or not folder.parts or not _has_relative_imports(self.file):
            return ""
        top = folder
        while top.parts and (project.root / top / "__init__.py").is_file():
            top = top.parent
        if top == folder:
            top = PurePosixPath("src" if folder.parts[0] == "src" else ".")
        names = folder.relative_to(top).parts
        return ".".join(names) if all(name.isidentifier() for name in names) else ""

    def import_roots(self, project: Project) -> tuple[str, ...]:
        """The folders that modules are imported from: the file's own, as for a script, the root, and ``src``.

        For a file that is a module of a package it is the folder around the package, in place of the file's own.
        """
        own = PurePosixPath(self.relative(project)).parent
        package = self.package(project)
        if package:
            own = own.parents[package.count(".")]
        return tuple(dict.fromkeys((str(own), ".", "src")))


def _has_relative_imports(file: Path) -> bool:
    source = file.read_bytes()
    if not re.search(rb"^[ \t]*from[ \t]+\.", source, re.MULTILINE):
        return False
    import ast

    try:
        return any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError):
        return True  # of another version of Python, perhaps


def parse(text: str, folder: Path) -> PipelineReference:
    """A reference as typed: ``file.py``, ``file.py:name`` or ``file.yaml``, relative to ``folder``.

    Raises:
        BadInput: the file does not exist or is of another kind.
    """
    path, separator, name = text.rpartition(":")
    if not separator or (folder / text).exists():
        path, name = text, ""
    file = (folder / path).absolute()
    if file.suffix == ".ipynb":
        raise BadInput(
            f"{path!r} is a notebook, which runs as a step: NotebookJob({path!r}).execute() in a .py file runs it alone"
        )
    if file.suffix not in (".py", *_YAML):
        raise BadInput(f"{path!r} is no pipeline: name a .py or .yaml file, or file.py:name")
    if not file.is_file():
        raise BadInput("this file does not exist", shown(file))
    if name and file.suffix in _YAML:
        raise BadInput(f"{path} holds one pipeline: leave out :{name}")
    return PipelineReference(file, name or None)
