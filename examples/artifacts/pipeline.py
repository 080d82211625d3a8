"""The same functions as in plain.py. What passes between them are dataclasses, models and files."""

from __future__ import annotations

import neighbours as nn

from toolkit import Catalog, Map, Pipeline, PythonTask, metric, pickled, pipeline, task

make = task(nn.make, returns=["points"])
split = task(nn.split, returns=["table"])
best = task(nn.best, returns=["winner"])
report = task(nn.report, returns=[metric("accuracy")], catalog=Catalog(get=["*/guesses-*.csv"]))

each = Pipeline(
    steps=[
        PythonTask(nn.train, returns=[pickled("model")]),
        PythonTask(nn.score, returns=["score"], catalog=Catalog(put=["guesses-{neighbours}.csv"])),
    ]
)


@pipeline(name="neighbours")
def main(count: int = 120, seed: int = 7, share: float = 0.25, candidates: list[int] = [1, 5, 15]):  # noqa: B006
    """Chooses the number of neighbours.

    Args:
        count: how many points are made.
        seed: of the random numbers.
        share: the part of the points that the models don't know.
        candidates: the numbers of neighbours to try.
    """
    # What the branch takes from around it, it takes by name: the table.
    split(make(count, seed), share)
    tried = Map("try", branch=each, iterate_on=candidates, iterate_as="neighbours")()
    report(best(tried.score))
