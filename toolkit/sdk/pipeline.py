"""Pipelines, and the steps that hold pipelines: parallel, map, conditional, loop, and a pipeline itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

from toolkit.sdk.refusal import Refusal, user_line
from toolkit.sdk.steps import Step, a_pipeline, function_reference

_executed = 0
"""How many times execute() was called in this process: which of a file's pipelines the call is about."""


class Pipeline:
    """Steps that run in the order of the list, each after the one before.

    A pipeline may stand as a step of another, under its name.

    Args:
        steps: at least one step; their names are unique.
        name: what lists and records call it; the file's name when absent. A pipeline that is a step needs one.
        description: for readers.
        on_failure: for a pipeline that is a step: a pipeline that runs when it has failed.
    """

    __toolkit_pipeline__ = True

    def __init__(
        self,
        steps: Sequence[Union[Step, Pipeline]],
        name: str = "",
        description: str = "",
        on_failure: Optional[Pipeline] = None,
    ) -> None:
        if isinstance(steps, (Step, Pipeline)) or not all(
            isinstance(step, Step) or _is_pipeline(step) for step in steps
        ):
            raise Refusal("Pipeline(steps=…) takes a list of steps")
        self.steps = [step if isinstance(step, Step) else a_pipeline("a step", step) for step in steps]
        self.name = name
        self.description = description
        self.on_failure = a_pipeline("on_failure", on_failure) if on_failure is not None else None
        self.line = user_line()

    def describe(self) -> dict[str, Any]:
        """The pipeline as plain JSON data (functions by name).

        Raises:
            ValueError: it has an ``on_failure``, and runs by itself or as a branch.
        """
        return self.describe_inside()

    def describe_inside(self, handled: bool = False) -> dict[str, Any]:
        """The same, of a branch, a handler, or (``handled``) a step whose on_failure that is."""
        if self.on_failure is not None and not handled:
            raise Refusal(
                f"the pipeline {self.name!r} has an on_failure and is no step of another, so nothing could go on after it: "
                "give on_failure to its steps",
                self.line,
            )
        return {"name": self.name, "steps": [as_step(step).describe() for step in self.steps]}

    def as_step(self) -> Nested:
        """The pipeline as a step of another."""
        return Nested(self.name, self, self.on_failure, self.line)

    def returned(self) -> list[str]:
        """The names that its steps may return, in order of definition."""
        return list(dict.fromkeys(name for step in self.steps for name in as_step(step).returned()))

    def __call__(self) -> Any:
        """Adds the pipeline as a step to the driver that calls it; returns handles for what its steps return."""
        return self.as_step()()

    def execute(
        self,
        configuration_file: str = "",
        run_id: str = "",
        tag: str = "",
        parameters_file: str = "",
        log_level: str = "",
    ) -> Any:
        """Runs the pipeline as ``toolkit run`` does; leaves with its exit code when the run did not succeed.

        Inside a step it does nothing, and while a pipeline is described it only says that it is the one. The variables
        TOOLKIT_ENV, TOOLKIT_CONFIG, TOOLKIT_RUN_ID and TOOLKIT_PARAMETERS_FILE stand in for what is not given.

        Args:
            configuration_file: path of the configuration. run_id: the run's id. tag: a word to find the run by.
            parameters_file: a YAML or JSON file of root parameters. log_level: accepted, and without effect.

        Raises:
            SystemExit: with 1, 2, 3 or 130, as docs/running.md says.
        """
        execute(self, configuration_file, run_id, tag, parameters_file)


def execute(pipeline: Any, configuration_file: str, run_id: str, tag: str, parameters_file: str) -> None:
    """What ``execute()`` of a Pipeline and of a driver do."""
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
    # Only outside an image is there a rest of the package to run it with.
    from toolkit.run.script import run_script

    code = run_script(
        file=os.path.abspath(file),
        nth=nth,
        arguments=sys.argv[1:],
        configuration_file=configuration_file or None,
        run_id=run_id or None,
        tag=tag or None,
        parameters_file=parameters_file or None,
    )
    if code != 0:
        sys.exit(code)


class AsyncPipeline(Pipeline):
    """A pipeline for a program that awaits it: ``await pipeline.execute()`` is the same run.

    Nothing else of the program's goes on meanwhile: Ctrl-C has to cancel the run as it does elsewhere.
    """

    async def execute(self, *arguments: Any, **named: Any) -> None:
        """Runs the pipeline; takes what :meth:`Pipeline.execute` takes."""
        super().execute(*arguments, **named)

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
                "execute_streaming() is not supported: await execute(), and follow the run by `toolkit logs -f` if need be"
            )
        # What makes it a generator, as its users expect one.
        no_events: tuple[Any, ...] = ()
        for event in no_events:
            yield event


def _is_pipeline(given: Any) -> bool:
    return not isinstance(given, type) and getattr(given, "__toolkit_pipeline__", False) is True


def as_step(given: Any) -> Step:
    """A step as it is, a pipeline or a driver as the step that it is in another."""
    step: Step = given if isinstance(given, Step) else given.as_step()
    return step


def _branches(name: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise Refusal(f"branches of the step {name} is a dict of names and pipelines, not {given!r}")
    return {key: a_pipeline(f"the branch {key} of the step {name}", branch) for key, branch in given.items()}


class _Composite(Step):
    kind = ""

    def __init__(self, name: str, on_failure: Optional[Pipeline] = None) -> None:
        super().__init__(name)
        self.on_failure = a_pipeline(f"on_failure of the step {name}", on_failure) if on_failure is not None else None

    def _pipelines(self) -> list[Any]:
        """All that is inside it, in order of definition."""
        raise NotImplementedError

    def _inside(self) -> dict[str, Any]:
        raise NotImplementedError

    def returned(self) -> list[str]:
        inner = [*self._pipelines(), *([self.on_failure] if self.on_failure is not None else [])]
        return list(dict.fromkeys(name for one in inner for name in one.returned()))

    def describe(self) -> dict[str, Any]:
        handler = self.on_failure.describe_inside() if self.on_failure is not None else None
        return {"type": self.kind, "name": self.name, "line": self.line, "on_failure": handler, **self._inside()}


class Nested(_Composite):
    """A pipeline as a step of another.

    ``Pipeline(steps=[…, Pipeline(name="inner", steps=…), …])`` says the same; this one gives it another name.

    Args:
        name: the step's name. pipeline: what runs. on_failure: a pipeline that runs when it has failed.
    """

    kind = "pipeline"

    def __init__(
        self, name: str, pipeline: Pipeline, on_failure: Optional[Pipeline] = None, line: Optional[int] = None
    ) -> None:
        if not name:
            raise Refusal("a pipeline that is a step of another needs a name: Pipeline(name=…)", line)
        self.pipeline = a_pipeline(f"pipeline of the step {name}", pipeline)
        super().__init__(name, on_failure or getattr(pipeline, "on_failure", None))
        self.line = line or self.line

    def _pipelines(self) -> list[Any]:
        return [self.pipeline]

    def _inside(self) -> dict[str, Any]:
        return {"pipeline": self.pipeline.describe_inside(handled=True)}


class Parallel(_Composite):
    """Named branches that run side by side, each to its end; it fails when one of them did.

    Args:
        name: the step's name. branches: a pipeline by each name. on_failure: a pipeline that runs when it has failed.
    """

    kind = "parallel"

    def __init__(self, name: str, branches: dict[str, Pipeline], on_failure: Optional[Pipeline] = None) -> None:
        super().__init__(name, on_failure)
        self.branches = _branches(name, branches)

    def _pipelines(self) -> list[Any]:
        return list(self.branches.values())

    def _inside(self) -> dict[str, Any]:
        return {"branches": {key: branch.describe_inside() for key, branch in self.branches.items()}}


class Map(_Composite):
    """A branch that runs once for each item of a list parameter.

    Args:
        name: the step's name. branch: the pipeline for an item.
        iterate_on: the list parameter (in a driver also its handle). iterate_as: what an item is called in the branch.
        reducer: what is made of the list of the items' values, for each name that the branch returns: a function at module
            level, its dotted path, or one of list, sum, max, min and last; the list when absent.
        concurrency: how many items may run at once. on_failure: a pipeline that runs when it has failed.
    """

    kind = "map"

    def __init__(
        self,
        name: str,
        branch: Pipeline,
        iterate_on: str,
        iterate_as: str,
        reducer: Union[Callable[..., Any], str, None] = None,
        concurrency: Optional[int] = None,
        on_failure: Optional[Pipeline] = None,
    ) -> None:
        super().__init__(name, on_failure)
        self.branch = a_pipeline(f"branch of the step {name}", branch)
        self.iterate_on = iterate_on
        self.iterate_as = iterate_as
        self.reducer = _reducer(reducer)
        self.live = reducer if not isinstance(reducer, str) else None
        self.concurrency = concurrency

    def _pipelines(self) -> list[Any]:
        return [self.branch]

    def _inside(self) -> dict[str, Any]:
        reducer: Any = self.reducer
        if isinstance(reducer, dict):
            reducer = {"name": self.name, "line": self.line, "kind": "python", "function": dict(reducer)}
            if self.live is not None:
                reducer["live"] = getattr(self.live, "__toolkit_function__", self.live)
        return {
            "branch": self.branch.describe_inside(),
            "iterate_on": self.iterate_on,
            "iterate_as": self.iterate_as,
            "reducer": reducer,
            "concurrency": self.concurrency,
        }


def _reducer(given: Any) -> Union[dict[str, str], str, None]:
    """A reducer by its name: of a known one, or of a function."""
    names: tuple[tuple[Any, str], ...] = ((None, ""), (list, "list"), (sum, "sum"), (max, "max"), (min, "min"))
    for known, name in names:
        if given is known:
            return name or None
    if isinstance(given, str) and "." not in given and not given.lstrip().startswith("lambda"):
        return given
    return function_reference(given, "reducer")


class Conditional(_Composite):
    """The one branch that a parameter's value names.

    Args:
        name: the step's name. parameter: whose value, as text, is the name of a branch (in a driver also its handle).
        branches: a pipeline by each value. default: for any other value; without one, that fails the step.
        on_failure: a pipeline that runs when it has failed.
    """

    kind = "conditional"

    def __init__(
        self,
        name: str,
        parameter: str,
        branches: dict[str, Pipeline],
        default: Optional[Pipeline] = None,
        on_failure: Optional[Pipeline] = None,
    ) -> None:
        super().__init__(name, on_failure)
        self.parameter = parameter
        self.branches = _branches(name, branches)
        self.default = a_pipeline(f"default of the step {name}", default) if default is not None else None

    def _pipelines(self) -> list[Any]:
        return [*self.branches.values(), *([self.default] if self.default is not None else [])]

    def _inside(self) -> dict[str, Any]:
        return {
            "parameter": self.parameter,
            "branches": {key: branch.describe_inside() for key, branch in self.branches.items()},
            "default": self.default.describe_inside() if self.default is not None else None,
        }


class Loop(_Composite):
    """A branch that runs again until a parameter is true, at most ``max_iterations`` times; it always runs once.

    Args:
        name: the step's name. branch: the pipeline of an iteration. max_iterations: from 1 on.
        break_on: the parameter that ends it. index_as: what an iteration's number, from 0, is called in the branch.
        on_failure: a pipeline that runs when it has failed.
    """

    kind = "loop"

    def __init__(
        self,
        name: str,
        branch: Pipeline,
        max_iterations: int,
        break_on: str,
        index_as: str = "",
        on_failure: Optional[Pipeline] = None,
    ) -> None:
        super().__init__(name, on_failure)
        self.branch = a_pipeline(f"branch of the step {name}", branch)
        self.max_iterations = max_iterations
        self.break_on = break_on
        self.index_as = index_as

    def _pipelines(self) -> list[Any]:
        return [self.branch]

    def _inside(self) -> dict[str, Any]:
        return {
            "branch": self.branch.describe_inside(),
            "max_iterations": self.max_iterations,
            "break_on": self.break_on,
            "index_as": self.index_as,
        }
