"""Fits a polynomial to the rows: train.py FOLDER MODEL."""

import json
import math
import sys

import yaml
from table import load

with open("params.yaml") as file:
    params = yaml.safe_load(file)["train"]
size = params["degree"] + 1
rows = load(sys.argv[1], "train.csv")
powers = [[x**power for power in range(size)] for x, _ in rows]
# The normal equations, with a ridge on their diagonal, solved by elimination.
matrix = [
    [math.fsum(row[i] * row[j] for row in powers) + (params["ridge"] if i == j else 0.0) for j in range(size)]
    + [math.fsum(row[i] * y for row, (_, y) in zip(powers, rows, strict=True))]
    for i in range(size)
]
for i in range(size):
    for j in range(size):
        if j != i:
            factor = matrix[j][i] / matrix[i][i]
            matrix[j] = [a - factor * b for a, b in zip(matrix[j], matrix[i], strict=True)]
with open(sys.argv[2], "w") as file:
    json.dump([matrix[i][size] / matrix[i][i] for i in range(size)], file)
