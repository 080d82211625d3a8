"""The types of what ``describe`` returns: a pipeline and its steps as plain data. Nothing here exists at run time.

The runtime makes the description of it, which is JSON: it replaces each function under ``live`` by the function's signature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional, Union

    # No type checker needs it to be installed: they all bring its types along.
    from typing_extensions import NotRequired, TypedDict

    class FunctionName(TypedDict):
        """How a function is found again in a container."""

        module: str
        qualname: str

    class ReturnData(TypedDict):
        name: str
        kind: str

    class CatalogData(TypedDict):
        get: list[str]
        put: list[str]
        store_copy: bool

    class AfterData(TypedDict, total=False):
        """What only a step that follows others by ``after`` has."""

        after: list[str]

    class StepData(AfterData):
        """What all steps have.

        Keys:
            type: ``task``, ``stub``, ``pipeline``, ``parallel``, ``map``, ``conditional`` or ``loop``.
            line: of the pipeline's file; None when the step was made in another file.
        """

        type: str
        name: str
        line: Optional[int]

    class StubData(StepData):
        terminate_with_success: bool
        terminate_with_failure: bool

    class TaskWork(TypedDict, total=False):
        """What a task runs: a function, or a command (of a notebook, its path).

        Keys:
            live: the function itself, when the pipeline's file gave it and not its name.
            settings: those beside the step, where there are any.
            keep_failure: is there where the step stays failed when its ``on_failure`` has succeeded.
        """

        function: FunctionName
        live: Callable[..., Any]
        command: str
        shell: str
        strict: bool
        settings: dict[str, object]
        keep_failure: bool
        html: bool

    class TaskData(StepData, TaskWork):
        kind: str
        returns: list[ReturnData]
        secrets: list[str]
        catalog: CatalogData
        overrides: Union[str, dict[str, str]]
        bind: dict[str, object]
        terminate_with_success: bool
        terminate_with_failure: bool
        max_attempts: Optional[int]
        on_failure: Optional[PipelineData]

    class ReducerData(TypedDict, total=False):
        """A reducer that is a function of the user's. ``live`` is as in TaskWork."""

        name: str
        line: Optional[int]
        kind: str
        function: FunctionName
        live: Callable[..., Any]

    class CompositeContent(TypedDict, total=False):
        """What a composite holds; each kind of composite has its own keys of these."""

        pipeline: PipelineData
        branches: dict[str, PipelineData]
        branch: PipelineData
        iterate_on: str
        iterate_as: str
        reducer: Union[ReducerData, str, None]
        concurrency: Optional[int]
        parameter: str
        default: Optional[PipelineData]
        max_iterations: int
        break_on: str
        index_as: str
        keep_failure: bool

    class CompositeData(StepData, CompositeContent):
        on_failure: Optional[PipelineData]
        terminate_with_success: bool
        terminate_with_failure: bool

    class FileData(TypedDict):
        """A file that a pipeline names, by its path from the project's root."""

        path: str
        line: Optional[int]

    class ParameterData(TypedDict, total=False):
        """A parameter that a pipeline declares.

        ``live`` is its type, or the driver whose argument it is: the runtime makes JSON of either, and of the default.
        """

        name: str
        line: Optional[int]
        live: object
        driver: Callable[..., Any]
        default: object
        description: str

    class PipelineData(TypedDict):
        """A pipeline. ``order`` is there only of a graph."""

        name: str
        steps: list[StepData]
        order: NotRequired[str]
        parameters_file: NotRequired[FileData]
        parameters: NotRequired[list[ParameterData]]
        on_exit: NotRequired[PipelineData]
