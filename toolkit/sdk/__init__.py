"""The Python SDK: what users import from ``toolkit`` to describe a pipeline.

It goes into every image, so it imports only the standard library. A pipeline is handed to the rest of toolkit as plain JSON
data, its description.
"""

from __future__ import annotations

from toolkit.sdk.composites import AsyncPipeline, Conditional, Loop, Map, Nested, Parallel, Pipeline
from toolkit.sdk.job import NotebookJob, PythonJob, ShellJob
from toolkit.sdk.parameters import Parameter
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
from toolkit.sdk.trace import after, pipeline, task

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
    "Parameter",
    "Pipeline",
    "PythonJob",
    "PythonTask",
    "ShellJob",
    "ShellTask",
    "Stub",
    "Success",
    "after",
    "json",
    "metric",
    "pickled",
    "pipeline",
    "task",
]
