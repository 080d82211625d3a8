"""Pipelines whose steps run as containers, the same on a laptop and on a cluster.

The names in this package are the SDK. A pipeline is a list of steps, or a function that calls them:

```python
from functions import consume, generate
from toolkit import Catalog, Pipeline, PythonTask

pipeline = Pipeline(
    steps=[
        PythonTask(generate, returns=["x", "y"], catalog=Catalog(put=["data.csv"])),
        PythonTask(consume, catalog=Catalog(get=["data.csv"])),
    ]
)

if __name__ == "__main__":
    pipeline.execute()
```

A pipeline that can't be described raises a ``ValueError``. Its message is one sentence for the pipeline's author.
"""

# Standard library only, and Python 3.9: this goes into every image, because the file that defines a step's function often
# defines the pipeline too.

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from toolkit.sdk import (
        AsyncPipeline,
        AsyncPythonTask,
        Catalog,
        Conditional,
        Fail,
        Loop,
        Map,
        Nested,
        NotebookJob,
        NotebookTask,
        Parallel,
        Parameter,
        Pipeline,
        PythonJob,
        PythonTask,
        ShellJob,
        ShellTask,
        Stub,
        Success,
        after,
        json,
        metric,
        pickled,
        pipeline,
        task,
    )

__version__ = "0.1.0"
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


if not TYPE_CHECKING:
    # Hidden from type checkers, which would accept any name because of it. They read the imports above.
    def __getattr__(name):
        # Imported on first use: the command line imports this package too, and needs no SDK.
        if name in __all__:
            from toolkit import sdk

            return getattr(sdk, name)
        raise AttributeError(f"module 'toolkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
