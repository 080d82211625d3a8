"""Two branches side by side, and a step that joins what they made."""

import features

from toolkit import Parallel, Pipeline, PythonTask

pipeline = Pipeline(
    name="features",
    steps=[
        Parallel(
            "sources",
            branches={
                "orders": PythonTask(features.from_orders, returns=["orders"]).as_pipeline(),
                "visits": Pipeline(
                    steps=[
                        PythonTask(features.from_visits, returns=["visits"]),
                        PythonTask(features.scaled, returns=["visits"]),
                    ]
                ),
            },
        ),
        PythonTask(features.join, returns=["features"]),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
