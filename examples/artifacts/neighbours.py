"""Nearest neighbours on points that are made here: a model for each number of neighbours, and the best of them."""

from __future__ import annotations

import csv
import random
from collections import Counter
from dataclasses import dataclass
from math import dist
from pathlib import Path


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Table:
    known: list[Point]
    unknown: list[Point]


@dataclass(frozen=True)
class Score:
    neighbours: int
    accuracy: float


class Model:
    def __init__(self, known: list[Point], neighbours: int) -> None:
        self.known = known
        self.neighbours = neighbours

    def predict(self, point: Point) -> str:
        nearest = sorted(self.known, key=lambda other: dist((other.x, other.y), (point.x, point.y)))
        return Counter(other.label for other in nearest[: self.neighbours]).most_common(1)[0][0]


def make(count: int, seed: int) -> list[Point]:
    """Two clouds of points that overlap."""
    chance = random.Random(seed)
    return [
        Point(chance.gauss(centre, 1.0), chance.gauss(centre, 1.0), label)
        for _ in range(count // 2)
        for label, centre in (("blue", 0.0), ("green", 1.5))
    ]


def split(points: list[Point], share: float) -> Table:
    cut = round(len(points) * share)
    return Table(known=points[cut:], unknown=points[:cut])


def train(table: Table, neighbours: int) -> Model:
    return Model(table.known, neighbours)


def score(model: Model, table: Table) -> Score:
    guesses = [model.predict(point) for point in table.unknown]
    with open(f"guesses-{model.neighbours}.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [point.x, point.y, point.label, guess] for point, guess in zip(table.unknown, guesses, strict=True)
        )
    right = sum(point.label == guess for point, guess in zip(table.unknown, guesses, strict=True))
    return Score(model.neighbours, right / len(guesses))


def best(scores: list[Score]) -> Score:
    return max(scores, key=lambda one: one.accuracy)


def report(winner: Score) -> float:
    # Beside this code, or in the folder of its position where each model had a container of its own.
    [path] = Path().glob(f"**/guesses-{winner.neighbours}.csv")
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    wrong = sum(label != guess for _, _, label, guess in rows)
    print(f"{winner.neighbours} neighbours are best: {wrong} of {len(rows)} points are guessed wrong")
    return winner.accuracy
