"""What each step takes says when it can start. What does not need each other runs side by side."""

import demand

from toolkit import Catalog, Pipeline, PythonTask

features = ["lags.csv", "degrees.csv"]

pipeline = Pipeline(
    name="demand",
    order="graph",
    steps=[
        PythonTask(demand.meters, catalog=Catalog(put=["meters.csv"])),
        PythonTask(demand.weather, catalog=Catalog(put=["weather.csv"])),
        # These follow the step that puts what they get.
        PythonTask(demand.check, catalog=Catalog(get=["meters.csv"])),
        PythonTask(demand.lags, catalog=Catalog(get=["meters.csv"], put=["lags.csv"])),
        PythonTask(demand.degrees, catalog=Catalog(get=["weather.csv"], put=["degrees.csv"])),
        PythonTask(
            demand.neighbours, "slow", returns=["error"], catalog=Catalog(get=features, put=["forecast-slow.csv"])
        ),
        PythonTask(demand.share, "quick", returns=["error"], catalog=Catalog(get=features, put=["forecast-quick.csv"])),
        # Both models return an error, so the step says whose it takes.
        PythonTask(demand.compare, returns=["winner"], bind={"slow": "slow.error", "quick": "quick.error"}),
        # It takes nothing of the check, but is to run after it.
        PythonTask(
            demand.report, returns=["forecast"], catalog=Catalog(get=["forecast-{winner}.csv"]), after=["check"]
        ),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
