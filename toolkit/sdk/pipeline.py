"""Pipelines, and the steps that hold pipelines: parallel, map, conditional and loop."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

from toolkit.sdk.refusal import Refusal
from toolkit.sdk.steps import Step, function_reference

_executed = 0
"""How many times execute() was called in this process: which of a file's pipelines the call is about."""


class Pipeline:
    """Steps that run in the order of the list, each after the one before.

    Args:
        steps: at least one step; their names are unique.
        name: what lists and records call it; the file's name when absent.
        description: for readers.
    """

    __toolkit_pipeline__ = True

    def __init__(self, steps: Sequence[Step], name: str = "", description: str = "") -> None:
        if isinstance(steps, Step) or not all(isinstance(step, (Step, Pipeline)) for step in steps):
            raise Refusal("Pipeline(steps=…) takes a list of steps")
        self.steps = list(steps)
        self.name = name
        self.description = description

    def describe(self) -> dict[str, Any]:
        """The pipeline as plain JSON data (functions by name)."""
        return {"name": self.name, "steps": [step.describe() for step in self.steps]}

    def execute(
        self,
        configuration_file: str = "",
        run_id: str = "",
        tag: str = "",
        parameters_file: str = "",
        log_level: str = "",
    ) -> None:
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


class _Composite(Step):
    def __init__(self, name: str, on_failure: Optional[Pipeline] = None) -> None:
        super().__init__(name)
        self.on_failure = on_failure

    def _inside(self) -> dict[str, Any]:
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        handler = self.on_failure.describe() if self.on_failure is not None else None
        kind = type(self).__name__.lower()
        return {"type": kind, "name": self.name, "line": self.line, "on_failure": handler, **self._inside()}


class Parallel(_Composite):
    """Named branches that run side by side."""

    def __init__(self, name: str, branches: dict[str, Pipeline], **options: Any) -> None:
        super().__init__(name, **options)
        self.branches = branches

    def _inside(self) -> dict[str, Any]:
        return {"branches": {key: branch.describe() for key, branch in self.branches.items()}}


class Map(_Composite):
    """A branch that runs once for each item of a list parameter."""

    def __init__(
        self,
        name: str,
        branch: Pipeline,
        iterate_on: str,
        iterate_as: str,
        reducer: Union[Callable[..., Any], str, None] = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.branch = branch
        self.iterate_on = iterate_on
        self.iterate_as = iterate_as
        self.reducer = reducer

    def _inside(self) -> dict[str, Any]:
        reducer = self.reducer
        named = reducer if reducer is None or isinstance(reducer, str) else function_reference(reducer)
        return {
            "branch": self.branch.describe(),
            "iterate_on": self.iterate_on,
            "iterate_as": self.iterate_as,
            "reducer": named,
        }


class Conditional(_Composite):
    """The one branch that a parameter's value names."""

    def __init__(
        self,
        name: str,
        parameter: str,
        branches: dict[str, Pipeline],
        default: Optional[Pipeline] = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.parameter = parameter
        self.branches = branches
        self.default = default

    def _inside(self) -> dict[str, Any]:
        return {
            "parameter": self.parameter,
            "branches": {key: branch.describe() for key, branch in self.branches.items()},
            "default": self.default.describe() if self.default is not None else None,
        }


class Loop(_Composite):
    """A branch that runs again until a parameter is true, or max_iterations are done."""

    def __init__(
        self, name: str, branch: Pipeline, max_iterations: int, break_on: str, index_as: str = "", **options: Any
    ) -> None:
        super().__init__(name, **options)
        self.branch = branch
        self.max_iterations = max_iterations
        self.break_on = break_on
        self.index_as = index_as

    def _inside(self) -> dict[str, Any]:
        return {
            "branch": self.branch.describe(),
            "max_iterations": self.max_iterations,
            "break_on": self.break_on,
            "index_as": self.index_as,
        }
