"""Today's prices, or yesterday's where today's can't be had."""

import json

from toolkit import Catalog, Pipeline, PythonTask, ShellTask


def fetch(source):
    """Has written something by the time that it fails."""
    with open("answer.txt", "w") as file:
        file.write(f"503 from {source}\n")
    raise ConnectionError(f"{source} does not answer")


def yesterday():
    """The handler sees what the step had put, failed or not."""
    with open("answer.txt") as file:
        print("today's prices failed with", file.read().strip())
    with open("prices.json") as file:
        return json.load(file)


pipeline = Pipeline(
    name="prices",
    steps=[
        Pipeline(
            name="load",
            steps=[
                PythonTask(
                    fetch,
                    returns=["prices"],
                    catalog=Catalog(put=["answer.txt"]),
                    max_attempts=2,
                    on_failure=PythonTask(
                        yesterday, returns=["prices"], catalog=Catalog(get=["answer.txt"])
                    ).as_pipeline(),
                ),
            ],
        ),
        ShellTask("publish", 'echo "$prices"'),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
