"""A pipeline of its own, that others take as a step."""

from toolkit import Pipeline, PythonTask


def drop_empty(rows):
    return [row for row in rows if row]


def normalise(rows):
    return [row.strip().lower() for row in rows]


pipeline = Pipeline(
    name="cleaning",
    steps=[PythonTask(drop_empty, returns=["rows"]), PythonTask(normalise, returns=["rows"])],
)
