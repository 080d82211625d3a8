"""The user's own code: it knows nothing of the tool that runs it."""

import csv
import os


def generate():
    """Writes data.csv and returns two numbers; the key shifts the data."""
    shift = len(os.environ["secret_key"])
    rows = [(number, number * number + shift) for number in range(1, 11)]
    with open("data.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    x, y = len(rows), sum(value for _, value in rows)
    print(f"wrote {x} rows")
    return x, y


def consume(x, y):
    """Reads data.csv and computes with what the step before returned."""
    with open("data.csv", newline="") as file:
        values = [int(value) for _, value in csv.reader(file)]
    assert len(values) == x and sum(values) == y
    print(f"the mean of {x} values is {y / x}")
