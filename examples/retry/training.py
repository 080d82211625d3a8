"""Training with a mistake in it: one region has no rows."""

ROWS = {"north": 120, "south": 80, "west": 0}


def load():
    print("loading takes an hour")
    return list(ROWS)


def train(region):
    rows = ROWS[region]
    print(f"{region}: {1000 / rows:.1f} per row")
    return rows


def evaluate(rows):
    return rows / 1000
