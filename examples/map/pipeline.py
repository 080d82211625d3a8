"""A branch for each fold; the list of folds is known only when a step has returned it."""

import training

from toolkit import Catalog, Map, Pipeline, PythonTask, metric

pipeline = Pipeline(
    name="cross-validation",
    steps=[
        PythonTask(training.folds, returns=["folds"]),
        Map(
            "each fold",
            iterate_on="folds",
            iterate_as="fold",
            reducer=training.spread,
            concurrency=4,
            branch=Pipeline(
                steps=[
                    PythonTask(training.train, returns=["mean"], catalog=Catalog(put=["model.json"])),
                    PythonTask(training.score, returns=[metric("score")]),
                ]
            ),
        ),
        PythonTask(training.report, catalog=Catalog(get=["0/model.json"])),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
