"""A step that is a notebook: explored by hand, then run each night as it is."""

from toolkit import NotebookTask, Pipeline, PythonTask, metric


def measure(days):
    """What the notebook looks at."""
    return [20 + day % 7 for day in range(days)]


pipeline = Pipeline(
    name="weather",
    steps=[
        PythonTask(measure, returns=["temperatures"]),
        NotebookTask("explore", "explore.ipynb", returns=[metric("mean"), "warmest"]),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
