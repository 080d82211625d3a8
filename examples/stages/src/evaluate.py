"""Tells how far the model is off, and writes its curve: evaluate.py FOLDER MODEL."""

import json
import math
import sys

from table import load

rows = load(sys.argv[1], "test.csv")
with open(sys.argv[2]) as file:
    model = json.load(file)


def predict(x):
    return math.fsum(weight * x**power for power, weight in enumerate(model))


errors = [y - predict(x) for x, y in rows]
scores = {
    "rmse": math.sqrt(math.fsum(error * error for error in errors) / len(errors)),
    "worst": max(abs(error) for error in errors),
}
with open("scores.json", "w") as file:
    json.dump(scores, file)
with open("curve.json", "w") as file:
    json.dump([[x / 10, predict(x / 10)] for x in range(-10, 11)], file)
