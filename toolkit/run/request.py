"""What a run is asked for, whoever asks: the command line, a script or compose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.config.settings import EnvironmentName
from toolkit.project import Project
from toolkit.run.reference import PipelineReference

Note = Callable[[str], None]
"""Is given a sentence about what is done or noticed before the steps."""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        parameters: the root parameters. run_id: None makes a fresh one. tag: a word to find the run by.
        context, namespace: of the cluster; None leaves them to the configuration.
        detach: whether the client leaves the run to itself once it is submitted.
    """

    project: Project
    environment: EnvironmentName
    reference: PipelineReference
    parameters: Mapping[str, Any]
    run_id: str | None = None
    tag: str = ""
    context: str | None = None
    namespace: str | None = None
    detach: bool = False
