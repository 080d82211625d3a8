"""A training that ends with an error, which is then fixed; what succeeded before is not run again."""

import training

from toolkit import Map, Pipeline, PythonTask, metric

pipeline = Pipeline(
    name="training",
    steps=[
        PythonTask(training.load, returns=["regions"]),
        Map(
            "each region",
            iterate_on="regions",
            iterate_as="region",
            reducer="sum",
            branch=PythonTask(training.train, returns=["rows"]).as_pipeline(),
        ),
        PythonTask(training.evaluate, returns=[metric("score")]),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
