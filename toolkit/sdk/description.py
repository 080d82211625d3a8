"""A description's types: what a pipeline and its steps are as plain JSON data. Nothing here exists at run time.

Steps write it (``describe``), and ``toolkit/model/description.py`` reads it on the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional, Union

    # No type checker needs it to be installed: they all bring its types along.
    from typing_extensions import TypedDict

    class FunctionName(TypedDict):
        """How a function is found again in a container."""

        module: str
        qualname: str

    class ReturnDescription(TypedDict):
        name: str
        kind: str

    class CatalogDescription(TypedDict):
        get: list[str]
        put: list[str]
        store_copy: bool

    class StepDescription(TypedDict):
        """What all steps have.

        Keys:
            type: ``task``, ``stub``, ``pipeline``, ``parallel``, ``map``, ``conditional`` or ``loop``.
            line: of the pipeline's file; None when the step was made in another file.
        """

        type: str
        name: str
        line: Optional[int]

    class StubDescription(StepDescription):
        terminate_with_success: bool
        terminate_with_failure: bool

    class Work(TypedDict, total=False):
        """What a task runs: a function, or a command (of a notebook, its path).

        Keys:
            live: the function itself. The runtime looks its signature up and takes it out before this becomes JSON.
        """

        function: FunctionName
        live: Callable[..., Any]
        command: str

    class TaskDescription(StepDescription, Work):
        kind: str
        returns: list[ReturnDescription]
        secrets: list[str]
        catalog: CatalogDescription
        overrides: dict[str, str]
        bind: dict[str, object]
        terminate_with_success: bool
        terminate_with_failure: bool
        max_attempts: Optional[int]
        on_failure: Optional[PipelineDescription]

    class ReducerDescription(TypedDict, total=False):
        """A reducer that is a function of the user's. ``live`` is as in Work."""

        name: str
        line: Optional[int]
        kind: str
        function: FunctionName
        live: Callable[..., Any]

    class Content(TypedDict, total=False):
        """What a composite holds; each kind of composite has its own keys of these."""

        pipeline: PipelineDescription
        branches: dict[str, PipelineDescription]
        branch: PipelineDescription
        iterate_on: str
        iterate_as: str
        reducer: Union[ReducerDescription, str, None]
        concurrency: Optional[int]
        parameter: str
        default: Optional[PipelineDescription]
        max_iterations: int
        break_on: str
        index_as: str

    class CompositeDescription(StepDescription, Content):
        on_failure: Optional[PipelineDescription]

    class PipelineDescription(TypedDict):
        name: str
        steps: list[StepDescription]
