"""The demand for power by the hour, forecast from meters and weather: by a slow model, and by a quick one beside it."""

import csv
import random
from math import cos, fsum, pi


def meters(days=14, seed=7):
    """Stands for a database that takes its time."""
    chance = random.Random(seed)
    rows = [[hour, round(50 - 20 * cos(hour * pi / 12) + chance.gauss(0, 4), 3)] for hour in range(days * 24)]
    write("meters.csv", rows)


def weather(days=14, seed=7):
    """Stands for a service of somebody else."""
    chance = random.Random(seed + 1)
    rows = [[hour, round(10 - 6 * cos(hour * pi / 12) + chance.gauss(0, 4), 3)] for hour in range(days * 24)]
    write("weather.csv", rows)


def check():
    """A report is only worth reading where no hour is missing."""
    hours = [hour for hour, _ in read("meters.csv")]
    if hours != list(range(len(hours))):
        raise ValueError("the meters have left out hours")


def lags():
    """The demand of each hour, and that of the same hour on the day before."""
    demand = [value for _, value in read("meters.csv")]
    write("lags.csv", [[demand[hour], demand[hour - 24]] for hour in range(24, len(demand))])


def degrees():
    """How many degrees it is too cold in each hour."""
    write("degrees.csv", [[round(max(0.0, 15 - value), 3)] for _, value in read("weather.csv")[24:]])


def neighbours(count=9):
    """The slow model: the mean of the hours that are most alike."""
    known, wanted = table()

    def guess(before, cold):
        nearest = sorted(known, key=lambda row: (row[1] - before) ** 2 + (row[2] - cold) ** 2)[:count]
        return fsum(demand for demand, _, _ in nearest) / count

    return error("slow", wanted, guess)


def share():
    """The quick model: a share of the demand on the day before."""
    known, wanted = table()
    part = fsum(row[0] * row[1] for row in known) / fsum(row[1] ** 2 for row in known)
    return error("quick", wanted, lambda before, _: part * before)


def compare(slow, quick):
    return "slow" if slow < quick else "quick"


def report(winner):
    rows = read(f"forecast-{winner}.csv")
    print(f"the {winner} model is better: it forecasts {rows[-1][1]} for the last hour, which had {rows[-1][0]}")
    return rows[-1][1]


def table():
    """What the models know, and the last day, which they have to guess."""
    rows = [[*lag, *cold] for lag, cold in zip(read("lags.csv"), read("degrees.csv"), strict=True)]
    return rows[:-24], rows[-24:]


def error(name, wanted, guess):
    """Writes a model's forecast; returns how far it is off in the mean."""
    rows = [[demand, round(guess(before, cold), 3)] for demand, before, cold in wanted]
    write(f"forecast-{name}.csv", rows)
    return round(fsum(abs(demand - guessed) for demand, guessed in rows) / len(rows), 3)


def read(name):
    with open(name, newline="") as file:
        return [[float(cell) for cell in row] for row in csv.reader(file)]


def write(name, rows):
    with open(name, "w", newline="") as file:
        csv.writer(file).writerows(rows)
