"""Each case gives the same in each environment: what it expects, and in all that it does not name the same as the others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.conformance import exemptions
from tests.conformance.case import Case
from tests.conformance.cases import CASES
from tests.conformance.environments import selected
from tests.conformance.expecting import problems
from tests.conformance.running import Place, Seen, ask, differences, normalised
from tests.support.engine import without_images

if TYPE_CHECKING:
    from tests.support.workplace import Workplace

pytestmark = [pytest.mark.timeout(1800)]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    rows = [(case, selected(metafunc.config, case)) for case in CASES]
    # What needs no cluster is run when it is looked at.
    needed = {"argo"} if metafunc.function is test_a_case_runs else set()
    rows = [(case, environments) for case, environments in rows if environments and needed <= set(environments)]
    params = []
    for case, environments in rows:
        marks = [pytest.mark.docker] if set(environments) - {"process"} else []
        if "argo" in environments:
            marks.append(pytest.mark.argo)
        if case.core:
            marks.append(pytest.mark.core(case.core))
        params.append(pytest.param(case, id=case.name, marks=marks))
    metafunc.parametrize("case", params)


@dataclass
class Played:
    """A case that has run in its environments.

    Attributes:
        runs: for each environment a run of each of the case's pipelines. problems: what is wrong with them, as far as is known.
        asked: whether what is known of the runs has been asked for.
    """

    case: Case
    places: list[Place]
    runs: list[list[Seen]]
    problems: list[str] = field(default_factory=list)
    asked: bool = False


PLAYED: dict[str, Played | None] = {}
"""The cases that this worker has run, by name; None is one whose commands did not come to their ends."""


def play(case: Case, pytestconfig: pytest.Config, workplace: Workplace | None, folder: Path) -> Played:
    """Runs a case in all of its environments at once."""
    # Given a project that all environments share, under a name of its own, since images are tagged by it.
    root = folder / f"{case.name}-{os.urandom(2).hex()}"
    for name, text in case.project().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    where = selected(pytestconfig, case)
    places = [Place(one, case, root, folder / one, workplace if one == "argo" else None) for one in where]
    with ExitStack() as stack:
        if set(where) - {"process"}:
            stack.enter_context(without_images(root))
        with ThreadPoolExecutor(len(places)) as pool:
            runs = list(pool.map(lambda place: run_all(place, case), places))
        found = [line for place in places if only_compiles(place) for line in compiled(place)]
    return Played(case, places, runs, found)


@pytest.fixture
def played(case: Case, pytestconfig: pytest.Config, request: pytest.FixtureRequest, tmp_path: Path) -> Played:
    """The case, run by this worker before or now."""
    if case.name not in PLAYED:
        on_cluster = "argo" in selected(pytestconfig, case)
        workplace: Workplace | None = request.getfixturevalue("workplace") if on_cluster else None
        PLAYED[case.name] = None
        PLAYED[case.name] = play(case, pytestconfig, workplace, tmp_path)
    found = PLAYED[case.name]
    if found is None:
        pytest.fail("it did not run: test_a_case_runs of the same case says why")
    return found


def test_a_case_runs(case: Case, played: Played) -> None:
    """The commands come to their ends; a run takes as long as its case has steps, one after the other on a cluster."""
    assert played.case is case


def test_a_case_is_the_same_everywhere(case: Case, played: Played) -> None:
    """The first of a worker's cases asks for all of them, which is what it takes its time for."""
    if not played.asked:
        ask_for([one for one in PLAYED.values() if one is not None and not one.asked])
    found = list(played.problems)
    # It is as expected in each environment, and in all else the same.
    found += [f"{one.environment}: {line}" for seen in played.runs for one in seen for line in problems(case, one)]
    for place, one, other in pairs_of(played):
        named = f"{one.run_id} and {other.run_id}"
        lines = differences(normalised(one, place.root), normalised(other, place.root))
        found += [f"{named} differ: {line}" for line in lines]
    assert not found, "\n" + "\n".join(found)


def only_compiles(place: Place) -> bool:
    """Whether but one of the case's pipelines runs there."""
    return place.case.compiles and place.environment == "argo"


def run_all(place: Place, case: Case) -> list[Seen]:
    """Each of the case's pipelines in one environment."""
    also = () if only_compiles(place) else case.also
    return [place.run(pipeline, nth) for nth, pipeline in enumerate((case.pipeline, *also))]


def compiled(place: Place) -> Iterator[str]:
    """Where what another form submits is not what the first one does."""
    first = place.manifest(place.case.pipeline)
    for other in place.case.also:
        for line in differences(first, place.manifest(other)):
            yield f"{place.case.pipeline} and {other} are not compiled to the same: {line}"


Pair: TypeAlias = tuple[Place, Seen, Seen]


def pairs_of(played: Played) -> list[Pair]:
    """Those that must be the same: a run and the one in the environment before, and each form and the first one."""
    pairs: list[Pair] = []
    for position, (place, seen) in enumerate(zip(played.places, played.runs, strict=True)):
        pairs += [(place, seen[0], other) for other in seen[1:]]
        if position:
            pairs.append((place, played.runs[position - 1][0], seen[0]))
    return pairs


def ask_for(several: list[Played]) -> None:
    """Asks for what is known of the cases' runs and keeps it, with what could not be told and what `toolkit diff` finds."""
    of_runs = [
        (played, place, one, place.asks_of(one))
        for played in several
        for place, seen in zip(played.places, played.runs, strict=True)
        for one in seen
    ]
    of_pairs = [
        (played, one, other, place.diff_of(one, other))
        for played in several
        if not played.case.expect.nothing
        for place, one, other in pairs_of(played)
    ]
    on_cluster = [
        (place.scratch, one.run_id) for _, place, one, asks in of_runs if place.environment == "argo" and asks
    ]
    answers = iter(ask([*(one for *_, asks in of_runs for one in asks), *(one for *_, one in of_pairs)], on_cluster))
    for played, place, one, asks in of_runs:
        for line in place.take(one, [next(answers) for _ in asks]):
            played.problems.append(f"{line}\nwhat the run itself said ({one.result.code}): {one.result.err}")
    for (played, one, other, _), answer in zip(of_pairs, answers, strict=True):
        named = f"toolkit diff of {one.run_id} and {other.run_id}"
        if answer.code not in (0, 1):
            played.problems.append(f"{named} ends with {answer.code}: {answer.err}")
            continue
        played.problems += [f"{named}: {row}" for row in json.loads(answer.out)["differences"]]
    for played in several:
        played.asked = True


def test_the_page_explains_each_exemption_and_no_other() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert sorted(rows[2:]) == sorted(one.name for one in exemptions.ALL)
    used = {one for case in CASES for one in case.exempt.values()}
    assert used == set(exemptions.ALL), "an exemption that nothing needs is to be removed"


def test_names_of_cases_fit_and_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert all(len(name) <= 24 and name.replace("-", "").isalnum() for name in names)
