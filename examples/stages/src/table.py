import csv
import os


def load(folder, name):
    with open(os.path.join(folder, name), newline="") as file:
        return [(float(x), float(y)) for x, y in csv.reader(file)]
