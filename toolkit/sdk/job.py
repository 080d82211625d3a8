"""Jobs: one task that runs without a pipeline around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

from toolkit.sdk.composites import Pipeline, execute
from toolkit.sdk.steps import NotebookTask, PythonTask, ShellTask, Step

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from toolkit.sdk.description import PipelineData
    from toolkit.sdk.steps import TaskOptions


class _Job:
    __toolkit_pipeline__ = True

    def __init__(self, task: Step) -> None:
        self.name = task.name
        self._task = task

    def describe(self) -> PipelineData:
        """The job as a pipeline of its one task, as plain JSON data."""
        return Pipeline(steps=[self._task], name=self.name).describe()

    def describe_inside(self, handled: bool = False) -> PipelineData:
        """The same, where the job is a branch, a handler or a step."""
        return self.describe()

    def as_step(self) -> Step:
        """The task, as a step of a pipeline."""
        return self._task

    def returned(self) -> list[str]:
        """The names that it may return, in order of definition."""
        return self._task.returned()

    def execute(
        self,
        configuration_file: str = "",
        run_id: str = "",
        tag: str = "",
        parameters_file: Union[str, Sequence[str]] = "",
        log_level: str = "",
        job_id: str = "",
    ) -> None:
        """Runs the job, as :meth:`Pipeline.execute` runs a pipeline.

        Args:
            configuration_file: the path of the configuration.
            run_id: the run's id.
            tag: a word to find the run by.
            parameters_file: the path of a YAML or JSON file with the run's parameters, or a list of such paths.
            log_level: accepted, and without effect.
            job_id: another name of ``run_id``.

        Raises:
            SystemExit: with 1, 2, 3 or 130 when the run did not succeed.
        """
        execute(self, configuration_file, run_id or job_id, tag, parameters_file)


class PythonJob(_Job):
    """A function that runs without a pipeline around it.

    ```python
    PythonJob(train, returns=[metric("score")]).execute()
    ```

    Args:
        function: a function at module level, or its dotted path as text.
        name: the name of step and pipeline. The function's own when empty.
        options: as :class:`PythonTask` takes them.

    Raises:
        ValueError: as for :class:`PythonTask`.
    """

    def __init__(
        self, function: Union[Callable[..., Any], str], name: str = "", **options: Unpack[TaskOptions]
    ) -> None:
        super().__init__(PythonTask(function, name, **options))


class ShellJob(_Job):
    """A command that runs without a pipeline around it.

    Args:
        command: the text for the shell.
        name: the name of step and pipeline.
        shell: ``"sh"`` or ``"bash"``, as for :class:`ShellTask`. strict: as for it, too.
        options: as :class:`PythonTask` takes them.

    Raises:
        ValueError: an option has a value that it can't have.
    """

    def __init__(
        self,
        command: str,
        name: str = "shell",
        shell: str = "sh",
        strict: Optional[bool] = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        super().__init__(ShellTask(name, command, shell, strict, **options))


class NotebookJob(_Job):
    """A notebook that runs without a pipeline around it.

    Args:
        notebook: the path of the notebook, relative to the project's root, as :class:`NotebookTask` takes it.
        name: the name of step and pipeline. The file's, without its suffix, when absent.
        html: whether the executed notebook is put as HTML as well.
        options: as :class:`PythonTask` takes them.

    Raises:
        ValueError: an option has a value that it can't have.
    """

    def __init__(
        self, notebook: str, name: Optional[str] = None, html: bool = False, **options: Unpack[TaskOptions]
    ) -> None:
        super().__init__(
            NotebookTask(name or os.path.splitext(os.path.basename(notebook))[0], notebook, html, **options)
        )
