"""Cross validation: a model for each fold, scored on what it has not seen."""

import json


def folds(rows, count):
    return [list(range(start, rows, count)) for start in range(count)]


def value(row):
    return row * row % 17


def train(fold, rows):
    """The mean of all rows outside the fold is a model too."""
    known = [value(row) for row in range(rows) if row not in fold]
    mean = sum(known) / len(known)
    with open("model.json", "w") as file:
        json.dump({"mean": mean}, file)
    return mean


def score(fold, mean):
    return sum(abs(value(row) - mean) for row in fold) / len(fold)


def spread(values):
    """What becomes of a value of each item: here for all that the branch returns."""
    return {"mean": sum(values) / len(values), "worst": max(values)}


def report(score, mean):
    with open("0/model.json") as file:
        first = json.load(file)
    print(f"error {score['mean']:.2f}, {score['worst']:.2f} at worst; the first fold's model says {first['mean']:.2f}")
