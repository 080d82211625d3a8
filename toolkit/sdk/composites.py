"""Pipelines, and the composites: nested pipeline, parallel, map, conditional and loop."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

from toolkit.sdk.parameters import Parameter, checked_parameters
from toolkit.sdk.refusal import Refusal, user_line
from toolkit.sdk.steps import (
    Step,
    a_pipeline,
    checked_keep_failure,
    followed,
    function_reference,
    refuse_unknown_options,
)

if TYPE_CHECKING:
    from typing import Literal

    from toolkit.sdk.description import (
        CompositeContent,
        CompositeData,
        FunctionName,
        PipelineData,
        ReducerData,
    )
    from toolkit.sdk.steps import After, AnyPipeline

_executed = 0
"""How many times execute() was called in this process. It tells which of a file's pipelines a call runs."""


class Pipeline:
    """Steps that run in the order of the list, each after the one before; or a graph of steps.

    A pipeline can be a step of another, under its name. In a graph a step starts as soon as the steps have ended whose values
    and files it takes, and those that it is to follow. Where they stand in the list makes no difference.

    ```python
    pipeline = Pipeline(
        name="getting-started",
        steps=[
            PythonTask(generate, returns=["x", "y"], catalog=Catalog(put=["data.csv"])),
            PythonTask(consume, catalog=Catalog(get=["data.csv"])),
        ],
    )

    if __name__ == "__main__":
        pipeline.execute()
    ```

    Args:
        steps: at least one step. Their names are unique.
        name: what lists and records call it. The file's name when empty. A pipeline that is a step needs one.
        description: a text for readers, without effect.
        on_failure: for a pipeline that is a step: a pipeline that runs when it has failed.
        keep_failure: for a pipeline that is a step: whether it stays failed when its ``on_failure`` has succeeded.
        on_exit: for the pipeline that is run: a pipeline that runs after it, however it has ended. Its steps find the run's
            status as ``run_status`` (``"succeeded"``, ``"failed"`` or ``"cancelled"``) and the paths of the steps that failed as
            ``failed_steps``. They change neither the run's status nor its exit code.
        parameters_file: a YAML or JSON file of the project, relative to its root, that scripts read themselves. Its values are the
            run's first parameters, and each step finds the file with the run's values in it. For the outermost pipeline only.
        parameters: all that a run of it can be given. What its steps take when absent. Without effect in a pipeline that is a
            step or a branch.
        order: ``"line"``, or ``"graph"``.
        after: for a pipeline that is a step of a graph: the steps that it follows, as for :class:`PythonTask`.

    Raises:
        ValueError: ``steps`` is no list of steps, ``parameters`` no list of parameters, ``parameters_file`` no path,
            ``on_failure`` or ``on_exit`` no pipeline, ``order`` no order, or ``after`` holds what is no step.
    """

    __toolkit_pipeline__ = True

    def __init__(
        self,
        steps: Sequence[Union[Step, AnyPipeline]],
        name: str = "",
        description: str = "",
        on_failure: Optional[AnyPipeline] = None,
        parameters_file: str = "",
        parameters: Optional[Sequence[Parameter]] = None,
        order: Literal["line", "graph"] = "line",
        after: Optional[After] = None,
        keep_failure: bool = False,
        on_exit: Optional[AnyPipeline] = None,
    ) -> None:
        # A generator gives its steps once.
        given = None if isinstance(steps, (Step, Pipeline)) else list(steps)
        if given is None or not all(isinstance(step, Step) or _is_pipeline(step) for step in given):
            raise Refusal("Pipeline(steps=…) takes a list of steps")
        self.steps = [step if isinstance(step, Step) else a_pipeline("a step", step) for step in given]
        self.name = name
        self.description = description
        self.on_failure = a_pipeline("on_failure", on_failure) if on_failure is not None else None
        self.keep_failure = checked_keep_failure(name, keep_failure, self.on_failure)
        self.on_exit = a_pipeline("on_exit", on_exit) if on_exit is not None else None
        if not isinstance(parameters_file, (str, os.PathLike)):
            raise Refusal(f"parameters_file is the path of a file, not {parameters_file!r}")
        self.parameters_file = os.fspath(parameters_file)
        self.parameters = checked_parameters(parameters)
        self.order = checked_order(order)
        self.after = followed(f"after of the pipeline {name}", after)
        self.line = user_line()

    def describe(self) -> PipelineData:
        """The pipeline as plain data: JSON, but for functions and for the types of parameters.

        Raises:
            ValueError: it has an ``on_failure`` or an ``after``, and is a run of its own or a branch.
        """
        on_exit, self.on_exit = self.on_exit, None
        try:
            described = self.describe_inside()
        finally:
            self.on_exit = on_exit
        if on_exit is not None:
            described["on_exit"] = on_exit.describe_inside()
        if self.parameters is not None:
            described["parameters"] = [parameter.describe() for parameter in self.parameters]
        return described

    def describe_inside(self, handled: bool = False) -> PipelineData:
        """The same, where the pipeline is inside another.

        Args:
            handled: whether it is a step, which can have an ``on_failure`` and an ``after``. A branch and a handler can't.
        """
        if self.on_failure is not None and not handled:
            raise Refusal(
                f"the pipeline {self.name!r} has an on_failure but is not a step of another pipeline, so nothing would run after "
                "it: give on_failure to its steps",
                self.line,
            )
        if self.after and not handled:
            raise Refusal(
                f"the pipeline {self.name!r} has an after but is not a step of another pipeline, so there is nothing that it could "
                "follow: leave it out",
                self.line,
            )
        if self.on_exit is not None:
            raise Refusal(
                f"the pipeline {self.name!r} has an on_exit, which is for the pipeline that is run, and is inside another: give "
                "the on_exit to the outermost pipeline",
                self.line,
            )
        described: PipelineData = {"name": self.name, "steps": [as_step(step).describe() for step in self.steps]}
        if self.order != "line":
            described["order"] = self.order
        if self.parameters_file:
            described["parameters_file"] = {"path": self.parameters_file, "line": self.line}
        return described

    def as_step(self) -> Nested:
        """The pipeline as a step of another."""
        return Nested(self.name, self, self.on_failure, self.line, after=self.after, keep_failure=self.keep_failure)

    def returned(self) -> list[str]:
        """The names that its steps may return, in order of definition."""
        return list(dict.fromkeys(name for step in self.steps for name in as_step(step).returned()))

    def __call__(self) -> Any:
        """Adds the pipeline as a step to the driver that calls it.

        Returns:
            handles for what its steps return: None, one, or a tuple in order of definition.
        """
        return self.as_step()()

    def execute(
        self,
        configuration_file: str = "",
        run_id: str = "",
        tag: str = "",
        parameters_file: Union[str, Sequence[str]] = "",
        log_level: str = "",
    ) -> Any:
        """Runs the pipeline as ``toolkit run`` does, and returns when the run has succeeded.

        Inside a step it does nothing. While a file is described, it only marks this pipeline as the one to describe. What is
        not given is taken from the environment variables TOOLKIT_ENV, TOOLKIT_CONFIG, TOOLKIT_RUN_ID and
        TOOLKIT_PARAMETERS_FILE.

        Args:
            configuration_file: the path of the configuration.
            run_id: the run's id. One is made when it is empty.
            tag: a word to find the run by.
            parameters_file: the path of a YAML or JSON file with the run's parameters, or a list of such paths. The later ones
                win, also inside of dictionaries.
            log_level: accepted, and without effect.

        Raises:
            SystemExit: the run did not succeed. Its code is 1 (a step failed), 2 (bad input), 3 (engine, cluster or disk) or
                130 (cancelled).
        """
        execute(self, configuration_file, run_id, tag, parameters_file)


def checked_order(given: Any) -> str:
    """The order of a pipeline, as given.

    Raises:
        ValueError: there is no such order.
    """
    if given not in ("line", "graph"):
        raise Refusal(f'the order of a pipeline is "line" or "graph", not {given!r}')
    order: str = given
    return order


def execute(
    pipeline: Any, configuration_file: str, run_id: str, tag: str, parameters_file: Union[str, Sequence[str]]
) -> None:
    """What ``execute()`` of a pipeline, a driver and a job does."""
    recorder = getattr(sys, "_toolkit_recorder", None)
    if recorder is not None:
        recorder.append(pipeline)
        return
    if getattr(sys, "_toolkit_step", False):
        return
    global _executed
    nth, _executed = _executed, _executed + 1
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None:
        raise Refusal("execute() needs a file to run from: an interactive session has none")
    # The rest of the package, which runs it, is not in an image.
    from toolkit.run.script import run_script

    one = isinstance(parameters_file, (str, os.PathLike))
    files: list[Any] = [parameters_file] if one else list(parameters_file)
    code = run_script(
        file=os.path.abspath(file),
        nth=nth,
        arguments=sys.argv[1:],
        configuration_file=configuration_file or None,
        run_id=run_id or None,
        tag=tag or None,
        parameters_files=[file for file in files if file],
    )
    if code != 0:
        sys.exit(code)


class AsyncPipeline(Pipeline):
    """A pipeline for a program that awaits it: ``await pipeline.execute()`` is the same run.

    It takes what :class:`Pipeline` takes. It blocks the event loop until the run has ended, so that Ctrl-C cancels the run as it
    does elsewhere.
    """

    async def execute(
        self,
        configuration_file: str = "",
        run_id: str = "",
        tag: str = "",
        parameters_file: Union[str, Sequence[str]] = "",
        log_level: str = "",
    ) -> None:
        """Runs the pipeline. Arguments and errors are those of :meth:`Pipeline.execute`."""
        super().execute(configuration_file, run_id, tag, parameters_file, log_level)

    async def execute_streaming(self, *_: Any, **__: Any) -> Any:
        """Not supported.

        Raises:
            ValueError: always, unless the file is only described, or imported by a step.
        """
        recorder = getattr(sys, "_toolkit_recorder", None)
        if recorder is not None:
            recorder.append(self)
        elif not getattr(sys, "_toolkit_step", False):
            raise Refusal(
                "execute_streaming() is not supported: await execute(), and follow the run with `toolkit logs -f`"
            )
        # The yield makes this an asynchronous generator, which its callers iterate over.
        no_events: tuple[Any, ...] = ()
        for event in no_events:
            yield event


def _is_pipeline(given: Any) -> bool:
    return not isinstance(given, type) and getattr(given, "__toolkit_pipeline__", False) is True


def as_step(given: Any) -> Step:
    """A step as it is; a pipeline, a driver or a job as a step of another pipeline."""
    step: Step = given if isinstance(given, Step) else given.as_step()
    return step


def _branches(name: str, given: Any) -> dict[str, AnyPipeline]:
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise Refusal(f"branches of the step {name} is a dict of names and pipelines, not {given!r}")
    return {key: a_pipeline(f"the branch {key} of the step {name}", branch) for key, branch in given.items()}


class _Composite(Step):
    kind = ""
    """Its type in a description: ``pipeline``, ``parallel``, ``map``, ``conditional`` or ``loop``."""

    def __new__(cls, *arguments: Any, **options: Any) -> _Composite:
        # Python's own error for an option that there is not would be one of the author's file.
        taken = cls.__init__.__code__
        known = taken.co_varnames[1 : taken.co_argcount + taken.co_kwonlyargcount]
        refuse_unknown_options(cls.kind, options.get("name", arguments[0] if arguments else ""), options, known)
        return super().__new__(cls)

    def __init__(
        self,
        name: str,
        on_failure: Optional[AnyPipeline],
        terminate_with_success: bool,
        terminate_with_failure: bool,
        after: Optional[After],
        keep_failure: bool,
    ) -> None:
        super().__init__(name, after)
        self.on_failure = a_pipeline(f"on_failure of the step {name}", on_failure) if on_failure is not None else None
        self.keep_failure = checked_keep_failure(name, keep_failure, self.on_failure)
        self.terminate_with_success = terminate_with_success
        self.terminate_with_failure = terminate_with_failure

    def _pipelines(self) -> list[AnyPipeline]:
        """The pipelines that it holds, in order of definition; not its ``on_failure``."""
        raise NotImplementedError

    def _content(self) -> CompositeContent:
        """The part of the description that only this kind of composite has."""
        raise NotImplementedError

    def returned(self) -> list[str]:
        inner = [*self._pipelines(), *([self.on_failure] if self.on_failure is not None else [])]
        return list(dict.fromkeys(name for pipeline in inner for name in pipeline.returned()))

    def describe(self) -> CompositeData:
        handler = self.on_failure.describe_inside() if self.on_failure is not None else None
        described: CompositeData = {
            "type": self.kind,
            "name": self.name,
            "line": self.line,
            "on_failure": handler,
            "terminate_with_success": self.terminate_with_success,
            "terminate_with_failure": self.terminate_with_failure,
            **self._content(),
            **self._after(),
        }
        if self.keep_failure:
            described["keep_failure"] = True
        return described


class Nested(_Composite):
    """A pipeline as a step of another, under a name of the step's own.

    A pipeline in a list of steps is the same, under the pipeline's name: ``Pipeline(steps=[Pipeline(name="inner", steps=…)])``.

    Args:
        name: the step's name.
        pipeline: what runs.
        on_failure: a pipeline that runs when it has failed. The pipeline's own when absent.
        line: the line of the file that errors name. The caller's when absent.
        terminate_with_success: whether the pipeline ends, as succeeded, after the step has succeeded.
        terminate_with_failure: whether the pipeline ends, as failed, after the step has succeeded.
        after: in a graph the steps that it follows, as for :class:`PythonTask`. The pipeline's own when absent.
        keep_failure: whether the step stays failed when its ``on_failure`` has succeeded.

    Raises:
        ValueError: the name is empty, or ``pipeline`` is no pipeline.
    """

    kind = "pipeline"

    def __init__(
        self,
        name: str,
        pipeline: AnyPipeline,
        on_failure: Optional[AnyPipeline] = None,
        line: Optional[int] = None,
        terminate_with_success: bool = False,
        terminate_with_failure: bool = False,
        after: Optional[After] = None,
        keep_failure: bool = False,
    ) -> None:
        if not name:
            raise Refusal("a pipeline that is a step of another needs a name: Pipeline(name=…)", line)
        self.pipeline = a_pipeline(f"pipeline of the step {name}", pipeline)
        super().__init__(
            name,
            on_failure or getattr(pipeline, "on_failure", None),
            terminate_with_success,
            terminate_with_failure,
            after if after is not None else getattr(pipeline, "after", None),
            keep_failure or (on_failure is None and getattr(pipeline, "keep_failure", False)),
        )
        self.line = line or self.line

    def _pipelines(self) -> list[AnyPipeline]:
        return [self.pipeline]

    def _content(self) -> CompositeContent:
        return {"pipeline": self.pipeline.describe_inside(handled=True)}


class Parallel(_Composite):
    """Named branches that run side by side.

    Each branch runs to its end, also when another fails. The step fails afterwards when one of them has failed. Of two branches
    that return one name, the value of the later in order of definition is taken.

    ```python
    Parallel("train", branches={"small": small, "large": large})
    ```

    Args:
        name: the step's name.
        branches: for each branch's name, its pipeline.
        on_failure: a pipeline that runs when the step has failed.
        terminate_with_success: whether the pipeline ends, as succeeded, after the step has succeeded.
        terminate_with_failure: whether the pipeline ends, as failed, after the step has succeeded.
        after: in a graph the steps that it follows, as for :class:`PythonTask`.
        keep_failure: whether the step stays failed when its ``on_failure`` has succeeded.

    Raises:
        ValueError: ``branches`` is no dict of names and pipelines.
    """

    kind = "parallel"

    def __init__(
        self,
        name: str,
        branches: Mapping[str, AnyPipeline],
        on_failure: Optional[AnyPipeline] = None,
        terminate_with_success: bool = False,
        terminate_with_failure: bool = False,
        after: Optional[After] = None,
        keep_failure: bool = False,
    ) -> None:
        super().__init__(name, on_failure, terminate_with_success, terminate_with_failure, after, keep_failure)
        self.branches = _branches(name, branches)

    def _pipelines(self) -> list[AnyPipeline]:
        return list(self.branches.values())

    def _content(self) -> CompositeContent:
        return {"branches": {key: branch.describe_inside() for key, branch in self.branches.items()}}


class Map(_Composite):
    """A branch that runs once for each item of a list parameter.

    Each item runs to its end, also when another fails. The step fails afterwards when one of them has failed. After it, a name
    that the branch returns is the list of the items' values, in the order of the items, or what the reducer makes of that list.

    ```python
    Map("squares", branch=PythonTask(square, returns=["s"]).as_pipeline(), iterate_on="numbers", iterate_as="n", reducer=sum)
    ```

    Args:
        name: the step's name.
        branch: the pipeline for one item.
        iterate_on: the parameter that holds the list. In a driver also its handle.
        iterate_as: the parameter under which the branch finds its item.
        reducer: a function of the list, at module level, or its dotted path as text. Or one of ``list``, ``sum``, ``max``,
            ``min`` and ``"last"``. The list itself when absent.
        concurrency: how many items may run at once. As many as the run may have steps at once when absent.
        on_failure: a pipeline that runs when the step has failed.
        terminate_with_success: whether the pipeline ends, as succeeded, after the step has succeeded.
        terminate_with_failure: whether the pipeline ends, as failed, after the step has succeeded.
        after: in a graph the steps that it follows, as for :class:`PythonTask`.
        keep_failure: whether the step stays failed when its ``on_failure`` has succeeded.

    Raises:
        ValueError: the branch is no pipeline, or the reducer can't be found by its name.
    """

    kind = "map"

    def __init__(
        self,
        name: str,
        branch: AnyPipeline,
        iterate_on: str,
        iterate_as: str,
        reducer: Union[Callable[..., Any], str, None] = None,
        concurrency: Optional[int] = None,
        on_failure: Optional[AnyPipeline] = None,
        terminate_with_success: bool = False,
        terminate_with_failure: bool = False,
        after: Optional[After] = None,
        keep_failure: bool = False,
    ) -> None:
        super().__init__(name, on_failure, terminate_with_success, terminate_with_failure, after, keep_failure)
        self.branch = a_pipeline(f"branch of the step {name}", branch)
        self.iterate_on = iterate_on
        self.iterate_as = iterate_as
        self.reducer = _reducer(reducer)
        self.live = reducer if not isinstance(reducer, str) else None
        self.concurrency = concurrency

    def _pipelines(self) -> list[AnyPipeline]:
        return [self.branch]

    def _content(self) -> CompositeContent:
        reducer: Union[ReducerData, str, None]
        if isinstance(self.reducer, dict):
            reducer = {"name": self.name, "line": self.line, "kind": "python", "function": self.reducer}
            if self.live is not None:
                reducer["live"] = getattr(self.live, "__toolkit_function__", self.live)
        else:
            reducer = self.reducer
        return {
            "branch": self.branch.describe_inside(),
            "iterate_on": self.iterate_on,
            "iterate_as": self.iterate_as,
            "reducer": reducer,
            "concurrency": self.concurrency,
        }


def _reducer(given: Any) -> Union[FunctionName, str, None]:
    """A reducer's name: of one that toolkit knows, or of a function."""
    builtins: tuple[tuple[Any, str], ...] = ((list, "list"), (sum, "sum"), (max, "max"), (min, "min"))
    if given is None:
        return None
    for builtin, name in builtins:
        if given is builtin:
            return name
    if isinstance(given, str) and "." not in given and not given.lstrip().startswith("lambda"):
        return given
    return function_reference(given, "reducer")


class Conditional(_Composite):
    """The one branch that the value of a parameter names. The other branches are skipped.

    ```python
    Conditional("size", parameter="total", branches={"0": nothing}, default=report)
    ```

    Args:
        name: the step's name.
        parameter: the parameter whose value, as text, is the name of a branch. In a driver also its handle.
        branches: for each value as text, its pipeline.
        default: the pipeline for any other value. Without it, another value fails the step.
        on_failure: a pipeline that runs when the step has failed.
        terminate_with_success: whether the pipeline ends, as succeeded, after the step has succeeded.
        terminate_with_failure: whether the pipeline ends, as failed, after the step has succeeded.
        after: in a graph the steps that it follows, as for :class:`PythonTask`.
        keep_failure: whether the step stays failed when its ``on_failure`` has succeeded.

    Raises:
        ValueError: ``branches`` is no dict of names and pipelines.
    """

    kind = "conditional"

    def __init__(
        self,
        name: str,
        parameter: str,
        branches: Mapping[str, AnyPipeline],
        default: Optional[AnyPipeline] = None,
        on_failure: Optional[AnyPipeline] = None,
        terminate_with_success: bool = False,
        terminate_with_failure: bool = False,
        after: Optional[After] = None,
        keep_failure: bool = False,
    ) -> None:
        super().__init__(name, on_failure, terminate_with_success, terminate_with_failure, after, keep_failure)
        self.parameter = parameter
        self.branches = _branches(name, branches)
        self.default = a_pipeline(f"default of the step {name}", default) if default is not None else None

    def _pipelines(self) -> list[AnyPipeline]:
        return [*self.branches.values(), *([self.default] if self.default is not None else [])]

    def _content(self) -> CompositeContent:
        return {
            "parameter": self.parameter,
            "branches": {key: branch.describe_inside() for key, branch in self.branches.items()},
            "default": self.default.describe_inside() if self.default is not None else None,
        }


class Loop(_Composite):
    """A branch that runs again until a parameter is true, at most ``max_iterations`` times. It always runs once.

    An iteration finds what the one before it returned. After the step, a name is what the last iteration returned.

    ```python
    Loop("until good", branch=improve, max_iterations=10, break_on="good", index_as="round")
    ```

    Args:
        name: the step's name.
        branch: the pipeline of one iteration.
        max_iterations: how many iterations there are at most, 1 or more.
        break_on: the parameter that ends the loop when it is true after an iteration. In a driver also its handle.
        index_as: the parameter under which the branch finds the iteration's number, from 0. None when empty.
        on_failure: a pipeline that runs when the step has failed.
        terminate_with_success: whether the pipeline ends, as succeeded, after the step has succeeded.
        terminate_with_failure: whether the pipeline ends, as failed, after the step has succeeded.
        after: in a graph the steps that it follows, as for :class:`PythonTask`.
        keep_failure: whether the step stays failed when its ``on_failure`` has succeeded.

    Raises:
        ValueError: the branch is no pipeline.
    """

    kind = "loop"

    def __init__(
        self,
        name: str,
        branch: AnyPipeline,
        max_iterations: int,
        break_on: str,
        index_as: str = "",
        on_failure: Optional[AnyPipeline] = None,
        terminate_with_success: bool = False,
        terminate_with_failure: bool = False,
        after: Optional[After] = None,
        keep_failure: bool = False,
    ) -> None:
        super().__init__(name, on_failure, terminate_with_success, terminate_with_failure, after, keep_failure)
        self.branch = a_pipeline(f"branch of the step {name}", branch)
        self.max_iterations = max_iterations
        self.break_on = break_on
        self.index_as = index_as

    def _pipelines(self) -> list[AnyPipeline]:
        return [self.branch]

    def _content(self) -> CompositeContent:
        return {
            "branch": self.branch.describe_inside(),
            "max_iterations": self.max_iterations,
            "break_on": self.break_on,
            "index_as": self.index_as,
        }
