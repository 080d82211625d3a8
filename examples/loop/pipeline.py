"""Newton's method, an iteration at a time, until it is near enough; a model's training has the same shape."""

from toolkit import Loop, Pipeline, PythonTask, ShellTask, metric


def improve(target, guess, round):
    """Sees what the iteration before returned; the first one what the run was given."""
    better = (guess + target / guess) / 2
    print(f"round {round}: {better}")
    return better, abs(better * better - target)


def judge(loss):
    return loss < 1e-6


pipeline = Pipeline(
    name="square-root",
    steps=[
        Loop(
            "train",
            max_iterations=20,
            break_on="good_enough",
            index_as="round",
            branch=Pipeline(
                steps=[
                    PythonTask(improve, returns=["guess", metric("loss")]),
                    PythonTask(judge, returns=["good_enough"]),
                ]
            ),
        ),
        ShellTask("report", 'echo "the root of $target is $guess"'),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
