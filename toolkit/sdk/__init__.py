"""The Python SDK: what users import from ``toolkit`` to describe a pipeline.

It imports nothing of the rest of the package, because it goes into every image; a pipeline leaves it as plain
JSON data.
"""

from __future__ import annotations

from toolkit.sdk.pipeline import Conditional, Loop, Map, Parallel, Pipeline
from toolkit.sdk.steps import Catalog, NotebookTask, PythonTask, ShellTask, Stub, json, metric, pickled
from toolkit.sdk.trace import pipeline, task

__all__ = [
    "Catalog",
    "Conditional",
    "Loop",
    "Map",
    "NotebookTask",
    "Parallel",
    "Pipeline",
    "PythonTask",
    "ShellTask",
    "Stub",
    "json",
    "metric",
    "pickled",
    "pipeline",
    "task",
]
