"""The pipeline as a driver function, traced: what it calls are the steps."""

import functions

from toolkit import Catalog, pipeline, task

generate = task(
    functions.generate,
    returns=["x", "y"],
    secrets=["secret_key"],
    catalog=Catalog(put=["data.csv"]),
)
consume = task(functions.consume, catalog=Catalog(get=["data.csv"]))


@pipeline(name="getting-started")
def main():
    x, y = generate()
    consume(x, y)


if __name__ == "__main__":
    main.execute()
