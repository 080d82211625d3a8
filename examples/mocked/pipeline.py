"""A pipeline that takes a night, and whose shape is to be tested in a second."""

import training

from toolkit import Conditional, Pipeline, PythonTask, ShellTask, metric

pipeline = Pipeline(
    name="nightly",
    steps=[
        PythonTask(training.download),
        PythonTask(training.train, returns=[metric("accuracy")]),
        PythonTask(training.judge, returns=["verdict"]),
        Conditional(
            "decide",
            parameter="verdict",
            branches={"good": ShellTask("publish", "scp model.bin models.example:").as_pipeline()},
            default=ShellTask("complain", "mail -s 'the model is bad' team@example").as_pipeline(),
        ),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
