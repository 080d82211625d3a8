"""Two pipelines in one; the one for cleaning is another file's, and runs by itself as well."""

import cleaning

from toolkit import Nested, Pipeline, PythonTask


def load():
    return ["Ada ", "", " grace", "JOAN"]


def count(rows):
    print(", ".join(rows))
    return len(rows)


pipeline = Pipeline(
    name="people",
    steps=[
        PythonTask(load, returns=["rows"]),
        cleaning.pipeline,
        Nested("summary", Pipeline(name="summary", steps=[PythonTask(count, returns=["people"])])),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
