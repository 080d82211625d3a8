"""A pipeline whose shape stands before its parts do."""

from toolkit import Pipeline, PythonTask, Stub


def clean(rows):
    """The one step that is there by now."""
    return [row for row in rows if row is not None]


pipeline = Pipeline(
    name="sketch",
    steps=[
        Stub("extract"),
        PythonTask(clean, returns=["rows"]),
        # What the task in its place will take may be written down already.
        Stub("train", returns=["model"], function="training.train"),
        Stub("publish"),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
