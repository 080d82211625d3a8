"""Makes a noisy curve, and keeps a part of it to test with: prepare.py FOLDER."""

import csv
import math
import os
import random
import sys

import yaml

folder = sys.argv[1]
with open("params.yaml") as file:
    params = yaml.safe_load(file)["prepare"]
chance = random.Random(params["seed"])
rows = [(x, math.sin(3 * x) + chance.gauss(0, 0.2)) for x in (chance.uniform(-1, 1) for _ in range(params["rows"]))]
cut = round(len(rows) * params["share"])
os.makedirs(folder, exist_ok=True)
for name, part in {"test.csv": rows[:cut], "train.csv": rows[cut:]}.items():
    with open(os.path.join(folder, name), "w", newline="") as file:
        csv.writer(file).writerows(part)
print(len(rows) - cut, "rows to train with,", cut, "to test with")
