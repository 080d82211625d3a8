"""The Python SDK: what users import from ``toolkit`` to describe a pipeline.

It imports nothing of the rest of the package, because it goes into every image; a pipeline leaves it as plain
JSON data.
"""

from __future__ import annotations

from toolkit.sdk.composites import AsyncPipeline, Conditional, Loop, Map, Nested, Parallel, Pipeline
from toolkit.sdk.job import NotebookJob, PythonJob, ShellJob
from toolkit.sdk.steps import (
    AsyncPythonTask,
    Catalog,
    Fail,
    NotebookTask,
    PythonTask,
    ShellTask,
    Stub,
    Success,
    json,
    metric,
    pickled,
)
from toolkit.sdk.trace import pipeline, task

__all__ = [
    "AsyncPipeline",
    "AsyncPythonTask",
    "Catalog",
    "Conditional",
    "Fail",
    "Loop",
    "Map",
    "Nested",
    "NotebookJob",
    "NotebookTask",
    "Parallel",
    "Pipeline",
    "PythonJob",
    "PythonTask",
    "ShellJob",
    "ShellTask",
    "Stub",
    "Success",
    "json",
    "metric",
    "pickled",
    "pipeline",
    "task",
]
