"""Pipelines whose steps run as containers, the same on a laptop and on a cluster.

What is named here is the SDK. A pipeline is a list of steps, or a function that calls them:

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

What can't be described is refused with a ``ValueError`` whose message is one sentence for the pipeline's author.
"""

# Standard library only, on Python 3.9 and later: the file that defines a step's function often defines the pipeline too, and
# then goes into the image with it.

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
        Pipeline,
        PythonJob,
        PythonTask,
        ShellJob,
        ShellTask,
        Stub,
        Success,
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


if not TYPE_CHECKING:
    # A type checker takes the names from above: with this it would accept any name.
    def __getattr__(name):
        # The command line imports this package too, and does not need the SDK.
        if name in __all__:
            from toolkit import sdk

            return getattr(sdk, name)
        raise AttributeError(f"module 'toolkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
