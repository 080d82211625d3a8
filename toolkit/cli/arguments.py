"""What commands read from their arguments: the project, the pipeline, its parameters, the request for a run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.config.load import load
from toolkit.errors import BadInput
from toolkit.project import Project

# A build needs the project alone, and what is about runs takes a quarter of an unchanged one to import.
if TYPE_CHECKING:
    from toolkit.backends.argo.cluster import Cluster
    from toolkit.run.parameters import GivenParameters
    from toolkit.run.reference import PipelineReference
    from toolkit.run.request import Request
    from toolkit.runtime.shared.documents import PatchRow


on_project: list[Callable[[Project], None]] = []
"""What is called with the project of this command as soon as it is known."""


def project_at(config: str | None, start: Path) -> Project:
    """The project of a configuration file. If none is named, it is looked for in ``start`` and the folders above."""
    project = load(Path(config) if config else None, start)
    for call in on_project:
        call(project)
    return project


def is_pipeline(word: str) -> bool:
    """Whether a word names a pipeline's file, as ``file.py:name``, and can't be a run's id, which has no dot."""
    return Path(word.partition(":")[0]).suffix in (".py", ".yaml", ".yml")


def pipeline_of(options: argparse.Namespace) -> tuple[Project, PipelineReference]:
    """The project and the pipeline that a command names, or that the configuration names.

    Raises:
        BadInput: none is named, or the file does not exist.
    """
    from toolkit.run.reference import parse

    if options.pipeline is not None:
        reference = parse(options.pipeline, Path.cwd())
        return project_at(options.config, reference.file.parent), reference
    project = project_at(options.config, Path.cwd())
    if project.config.pipeline is None:
        raise BadInput("name a pipeline (toolkit run file.py), or set `pipeline:` in the configuration")
    return project, parse(project.config.pipeline, project.home)


def parameters_of(options: argparse.Namespace) -> GivenParameters:
    """The root parameters that a command is given."""
    from toolkit.run import parameters

    files = options.parameters or list(filter(None, [os.environ.get("TOOLKIT_PARAMETERS_FILE")]))
    return parameters.read(list(map(Path, files)), options.param, os.environ)


def run_request(options: argparse.Namespace) -> Request:
    """The request of ``run`` and ``compile``; its environment is chosen later."""
    from toolkit import names
    from toolkit.run.request import Request

    project, reference = pipeline_of(options)
    run_id = options.run_id or os.environ.get("TOOLKIT_RUN_ID") or names.new_run_id()
    given = parameters_of(options)
    patches: Mapping[str, PatchRow] = {}
    patch_places: Mapping[str, str] = {}
    if options.patch:
        from toolkit.run.patches import read_patches

        patches, patch_places = read_patches(Path(options.patch))
    return Request(
        project,
        "argo",
        reference,
        given.values,
        names.run_id(run_id),
        options.tag,
        options.context,
        options.namespace,
        getattr(options, "detach", False),
        given.spellings,
        options.explain,
        typed=given.typed,
        given=given,
        patches=patches,
        patch_places=patch_places,
        logs=getattr(options, "logs", False),
        lines_on_cluster=lines_on_cluster,
    )


def lines_on_cluster(project: Project, cluster: Cluster, run_id: str) -> Generator[tuple[str, int, bytes], None, None]:
    """Imported when it is called: see :func:`toolkit.runs.cluster_logs.run_lines`."""
    from toolkit.runs.cluster_logs import run_lines

    return run_lines(project, cluster, run_id)
