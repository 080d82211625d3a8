"""A model is promoted when it is better than the one in use."""

from toolkit import Conditional, Pipeline, PythonTask, ShellTask, Stub


def evaluate(accuracy, in_use):
    return "promote" if accuracy > in_use + 0.01 else "review" if accuracy > in_use - 0.01 else "reject"


pipeline = Pipeline(
    name="promotion",
    steps=[
        PythonTask(evaluate, returns=["verdict"]),
        Conditional(
            "decide",
            parameter="verdict",
            branches={
                "promote": ShellTask("promote", "export in_use=$accuracy", returns=["in_use"]).as_pipeline(),
                "review": ShellTask("ask", 'echo "$accuracy is about as good as $in_use"').as_pipeline(),
            },
            # Any other value; without it that would be a failure.
            default=Stub("leave it").as_pipeline(),
        ),
        ShellTask("report", 'echo "in use: $in_use"'),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
