"""The model: a pipeline as frozen dataclasses, in whichever form it was written.

The model does not say where the pipeline runs, nor with which configuration. A step's ``line`` is for messages and is never
compared. Its ``after`` names steps beside it in a graph which it follows, beyond those that it takes something from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from toolkit.runtime.shared.tree import ANY, DEFAULT, HANDLER

if TYPE_CHECKING:
    from toolkit.config.settings import StepSettings
    from toolkit.runtime.shared.documents import JsonValue, TypeRow

Kind = Literal["python", "shell", "notebook"]
Shell = Literal["sh", "bash"]
Order = Literal["line", "graph"]
ReturnKind = Literal["json", "object", "metric"]
TASK_KINDS: Mapping[str, Kind] = {"python": "python", "shell": "shell", "notebook": "notebook"}
RETURN_KINDS: Mapping[str, ReturnKind] = {"json": "json", "object": "object", "metric": "metric"}
SHELLS: Mapping[str, Shell] = {"sh": "sh", "bash": "bash"}
ORDERS: Mapping[str, Order] = {"line": "line", "graph": "graph"}
"""Each of these by its name, which a description has as text."""


@dataclass(frozen=True)
class Function:
    """How a function is found again: module and name, or its file (relative to the root) under the module's name."""

    module: str
    qualname: str
    file: str | None = None


@dataclass(frozen=True)
class Argument:
    """What is known of an argument of a function, or of a parameter that a pipeline declares.

    Attributes:
        type: a row that a value is checked by; None where the step alone can.
        annotation: the text of an annotation that has no such row; empty for none.
        default: in a tuple; None where there is none, or where JSON can't hold it.
    """

    type: TypeRow | None = None
    annotation: str = ""
    default: tuple[JsonValue] | None = None


@dataclass(frozen=True)
class DeclaredParameter(Argument):
    """A parameter that a pipeline declares. Without a default the run has to be given it."""

    name: str = ""
    description: str = ""
    line: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Takes:
    """A function's signature: the argument names, those without a default, and whether it has ``**kwargs``.

    Of a notebook the names are those that its parameters cell assigns.

    Attributes:
        arguments: what is known of each, by name; of an older description nothing.
    """

    names: tuple[str, ...]
    required: tuple[str, ...]
    everything: bool
    arguments: Mapping[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True)
class Return:
    name: str
    kind: ReturnKind = "json"


@dataclass(frozen=True)
class Constant:
    """A binding to a value that is written in the pipeline itself."""

    value: Any


@dataclass(frozen=True)
class Source:
    """A binding to a parameter.

    Attributes:
        step: the step that returns it, by its name among its siblings. RUN is a parameter of the run; None is the newest
            value in the scope.
    """

    RUN: ClassVar = ""

    name: str
    step: str | None = None


Binding = Constant | Source


@dataclass(frozen=True)
class CatalogUse:
    get: tuple[str, ...] = ()
    put: tuple[str, ...] = ()
    store_copy: bool = True


@dataclass(frozen=True)
class Patched:
    """What a patch made of a task.

    Attributes:
        returns: what the task returns in place of running; None where it runs the patch's command. files: contents in base64,
            by the names under which they are put.
    """

    returns: Mapping[str, JsonValue] | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A step that runs in a container of its own: a function, a command or a notebook.

    Attributes:
        strict: whether a shell step ends at the first command that fails, and at a variable that is not set; it runs bash then.
            None leaves that to the configuration.
        overrides: the name of an override that every configuration has; or the names by executor type or environment.
        settings: those that are said beside the step; None where none are.
        keep_failure: whether the step stays failed when its ``on_failure`` has succeeded; of composites as well.
        html: whether an executed notebook is put as HTML as well.
    """

    name: str
    kind: Kind
    function: Function | None = None
    command: str | None = None
    shell: Shell = "sh"
    strict: bool | None = None
    html: bool = False
    takes: Takes | None = None
    returns: tuple[Return, ...] = ()
    secrets: tuple[str, ...] = ()
    catalog: CatalogUse = CatalogUse()
    overrides: Mapping[str, str] | str = field(default_factory=dict)
    settings: StepSettings | None = None
    bind: Mapping[str, Binding] = field(default_factory=dict)
    terminate_with_success: bool = False
    terminate_with_failure: bool = False
    max_attempts: int | None = None
    on_failure: Pipeline | None = None
    patched: Patched | None = None
    line: str | None = field(default=None, compare=False)
    after: tuple[str, ...] = ()
    keep_failure: bool = False


@dataclass(frozen=True)
class Stub:
    """A step that does nothing and has no container. Like a task, it may end its pipeline."""

    name: str
    terminate_with_success: bool = False
    terminate_with_failure: bool = False
    line: str | None = field(default=None, compare=False)
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Nested:
    """A pipeline as a step of another."""

    name: str
    pipeline: Pipeline
    on_failure: Pipeline | None = None
    terminate_with_success: bool = False
    terminate_with_failure: bool = False
    line: str | None = field(default=None, compare=False)
    after: tuple[str, ...] = ()
    keep_failure: bool = False


@dataclass(frozen=True)
class Parallel:
    """Named branches that run side by side; the order of the names is the order of definition."""

    name: str
    branches: tuple[tuple[str, Pipeline], ...]
    on_failure: Pipeline | None = None
    terminate_with_success: bool = False
    terminate_with_failure: bool = False
    line: str | None = field(default=None, compare=False)
    after: tuple[str, ...] = ()
    keep_failure: bool = False


@dataclass(frozen=True)
class Map:
    """A branch for each item of a list parameter.

    Attributes:
        reducer: a function of the list of the items' values, or one of REDUCERS; None keeps the list.
        concurrency: how many items may run at once; None sets no limit beyond the run's own.
        source: the step that returns what it iterates on, by its path among its siblings; None is the newest value.
    """

    name: str
    branch: Pipeline
    iterate_on: str
    iterate_as: str
    reducer: Function | str | None = None
    concurrency: int | None = None
    on_failure: Pipeline | None = None
    terminate_with_success: bool = False
    terminate_with_failure: bool = False
    line: str | None = field(default=None, compare=False)
    after: tuple[str, ...] = ()
    source: str | None = None
    keep_failure: bool = False


@dataclass(frozen=True)
class Conditional:
    """Runs the branch that a parameter's value names, or the default.

    Attributes:
        source: the step that returns the parameter, by its path among its siblings; None is the newest value.
    """

    name: str
    parameter: str
    branches: tuple[tuple[str, Pipeline], ...]
    default: Pipeline | None = None
    on_failure: Pipeline | None = None
    terminate_with_success: bool = False
    terminate_with_failure: bool = False
    line: str | None = field(default=None, compare=False)
    after: tuple[str, ...] = ()
    source: str | None = None
    keep_failure: bool = False


@dataclass(frozen=True)
class Loop:
    """A branch that runs again until ``break_on`` is true, at most ``max_iterations`` times."""

    name: str
    branch: Pipeline
    max_iterations: int
    break_on: str
    index_as: str = ""
    on_failure: Pipeline | None = None
    terminate_with_success: bool = False
    terminate_with_failure: bool = False
    line: str | None = field(default=None, compare=False)
    after: tuple[str, ...] = ()
    keep_failure: bool = False


Composite = Nested | Parallel | Map | Conditional | Loop
Step = Task | Stub | Composite
REDUCERS = ("list", "sum", "max", "min", "last")
"""Reducers that are not functions of the user's, by their names."""


@dataclass(frozen=True)
class NamedFile:
    """A file that a pipeline names: its path, relative to the project's root."""

    path: str
    line: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Pipeline:
    """Steps in the order in which they are defined; their names are unique among siblings.

    Attributes:
        order: a line runs its steps one after the other. A graph runs each as soon as what it needs has ended: the steps in its
            ``after``, and those whose values and files it takes.
        parameters_file: a file that scripts read themselves, and that holds the run's values when they do.
        parameters: all that a run of the pipeline can be given, where it declares them; None where they are what its steps take.
        written: of one whose steps are mocked, the one that was written.
        on_exit: what runs after the pipeline, however it has ended; only of the pipeline that is run.
    """

    steps: tuple[Step, ...]
    name: str = ""
    parameters_file: NamedFile | None = None
    parameters: tuple[DeclaredParameter, ...] | None = None
    written: Pipeline | None = field(default=None, compare=False)
    order: Order = "line"
    on_exit: Pipeline | None = None


def inner_pipelines(step: Step) -> list[tuple[str, Pipeline]]:
    """The pipelines inside a step, each with the label that its path has below the step's; the label may be empty."""
    pipelines: list[tuple[str, Pipeline]] = []
    if isinstance(step, Nested):
        pipelines = [("", step.pipeline)]
    elif isinstance(step, (Map, Loop)):
        pipelines = [(ANY, step.branch)]
    elif isinstance(step, (Parallel, Conditional)):
        pipelines = list(step.branches)
        if isinstance(step, Conditional) and step.default is not None:
            pipelines.append((DEFAULT, step.default))
    if not isinstance(step, Stub) and step.on_failure is not None:
        pipelines.append((HANDLER, step.on_failure))
    return pipelines
