"""What a user asks for when a run, or what comes before one, begins."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toolkit.config.settings import EnvironmentName
from toolkit.project import Project
from toolkit.run.reference import PipelineReference

if TYPE_CHECKING:
    from toolkit.backends.argo.cluster import Cluster
    from toolkit.run.parameters import GivenParameters
    from toolkit.runtime.shared.documents import DescribeResponse, Parameters, PatchRow

Note = Callable[[str], None]
"""Shows a sentence about what happens before the steps run."""


RunLines = Callable[[Project, "Cluster", str], Generator[tuple[str, int, bytes], None, None]]
"""Path, attempt and a piece of what each step of a run on a cluster writes, as it comes; an empty piece is an attempt's end."""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        parameters: the root parameters. spellings: the texts that spelled them, by name, where the values do not give them back.
        typed: the names of those that the command line gave.
        run_id: None is a new one. tag: a word to find the run by.
        context, namespace: the cluster's; None leaves them to the configuration.
        detach: whether the client ends when the run is submitted, and does not follow it.
        explain: whether to say why the image is built, and whether the pipeline's description is kept.
        logs: whether the lines that steps write are printed as they come. lines_on_cluster: gives those of a run on a cluster.
        given: what ``parameters`` are made of, together with what the pipeline itself has; None where they are those of a run
            that exists, and stay as they are.
        patches: what tasks do instead, by their paths or names. patch_places: where each stands, for messages.
        described: of a run that is resumed, what it was made of where the pipeline's code computed something.
    """

    project: Project
    environment: EnvironmentName
    reference: PipelineReference
    parameters: Parameters
    run_id: str | None = None
    tag: str = ""
    context: str | None = None
    namespace: str | None = None
    detach: bool = False
    spellings: Mapping[str, str] = field(default_factory=dict)
    explain: bool = False
    described: Mapping[str, DescribeResponse] = field(default_factory=dict)
    typed: frozenset[str] = frozenset()
    given: GivenParameters | None = None
    patches: Mapping[str, PatchRow] = field(default_factory=dict)
    patch_places: Mapping[str, str] = field(default_factory=dict)
    logs: bool = False
    lines_on_cluster: RunLines | None = None
