"""Jobs: one task that runs without a pipeline around it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Optional, Union

from toolkit.sdk.pipeline import Pipeline, execute
from toolkit.sdk.steps import NotebookTask, PythonTask, ShellTask, Step


class _Job:
    __toolkit_pipeline__ = True

    def __init__(self, task: Step) -> None:
        self.name = task.name
        self._task = task

    def describe(self) -> dict[str, Any]:
        """The job as a pipeline of its one task, as plain JSON data."""
        return Pipeline(steps=[self._task], name=self.name).describe()

    def describe_inside(self, handled: bool = False) -> dict[str, Any]:
        """The same, of a branch, a handler or a step."""
        return self.describe()

    def as_step(self) -> Step:
        """The task, as a step of a pipeline."""
        return self._task

    def returned(self) -> list[str]:
        """The names that it may return."""
        return self._task.returned()

    def execute(
        self,
        configuration_file: str = "",
        run_id: str = "",
        tag: str = "",
        parameters_file: str = "",
        log_level: str = "",
        job_id: str = "",
    ) -> None:
        """Runs the job; see :meth:`toolkit.Pipeline.execute`. ``job_id`` is another name of ``run_id``."""
        execute(self, configuration_file, run_id or job_id, tag, parameters_file)


class PythonJob(_Job):
    """A function that is run by itself.

    Args:
        function: a function at module level, or its dotted path. name: the function's own when absent.
        options: as PythonTask takes them (returns, secrets, catalog, …).
    """

    def __init__(self, function: Union[Callable[..., Any], str], name: str = "", **options: Any) -> None:
        super().__init__(PythonTask(function, name, **options))


class ShellJob(_Job):
    """A command that is run by itself.

    Args:
        command: for ``/bin/sh -c``. options: as ShellTask takes them.
    """

    def __init__(self, command: str, name: str = "shell", **options: Any) -> None:
        super().__init__(ShellTask(name, command, **options))


class NotebookJob(_Job):
    """A notebook that is run by itself.

    Args:
        notebook: path of the .ipynb file. name: the file's when absent. options: as NotebookTask takes them.
    """

    def __init__(self, notebook: str, name: Optional[str] = None, **options: Any) -> None:
        super().__init__(NotebookTask(name or os.path.splitext(os.path.basename(notebook))[0], notebook, **options))
