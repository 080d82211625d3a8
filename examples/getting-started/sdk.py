"""The pipeline in the Python SDK; also a script: `python sdk.py`."""

from functions import consume, generate

from toolkit import Catalog, Pipeline, PythonTask

pipeline = Pipeline(
    name="getting-started",
    steps=[
        PythonTask(
            name="generate",
            function=generate,
            returns=["x", "y"],
            secrets=["secret_key"],
            catalog=Catalog(put=["data.csv"]),
        ),
        PythonTask(name="consume", function=consume, catalog=Catalog(get=["data.csv"])),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
