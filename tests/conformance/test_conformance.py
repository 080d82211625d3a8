"""Each case gives the same in each environment: what it expects, and in all that it does not name the same as the others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.conformance import exemptions
from tests.conformance.case import Case, Environment
from tests.conformance.cases import CASES
from tests.conformance.expecting import problems
from tests.conformance.running import Place, Seen, ask, differences, normalised
from tests.support.engine import without_images

if TYPE_CHECKING:
    from tests.support.workplace import Workplace

pytestmark = [pytest.mark.docker, pytest.mark.argo, pytest.mark.timeout(1800)]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_the_same_everywhere(
    case: Case, environments: tuple[Environment, ...], workplace: Workplace | None, tmp_path: Path
) -> None:
    where = [one for one in environments if one not in case.exempt]
    if not where:
        pytest.skip(f"exempt in {', '.join(environments)}")
    # Given a project that all environments share, under a name of its own, since images are tagged by it.
    root = tmp_path / f"{case.name}-{os.urandom(2).hex()}"
    for name, text in case.project().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    places = [Place(one, case, root, tmp_path / one, workplace if one == "argo" else None) for one in where]
    with ExitStack() as stack:
        if where != ["process"]:
            stack.enter_context(without_images(root))
        # When it runs in all of them at once.
        with ThreadPoolExecutor(len(places)) as pool:
            runs = list(pool.map(lambda place: run_all(place, case), places))
        # Then it is as expected in each of them, and in all else the same.
        pairs = pairs_of(places, runs)
        found = list(asked(places, runs, pairs))
        found += [f"{one.environment}: {line}" for seen in runs for one in seen for line in problems(case, one)]
        for _, one, other in pairs:
            named = f"{one.run_id} and {other.run_id}"
            lines = differences(normalised(one, root), normalised(other, root))
            found += [f"{named} differ: {line}" for line in lines]
        found += [line for place in places if only_compiles(place) for line in compiled(place)]
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


def pairs_of(places: list[Place], runs: list[list[Seen]]) -> list[Pair]:
    """Those that must be the same: a run and the one in the environment before, and each form and the first one."""
    pairs: list[Pair] = []
    for position, (place, seen) in enumerate(zip(places, runs, strict=True)):
        pairs += [(place, seen[0], other) for other in seen[1:]]
        if position:
            pairs.append((place, runs[position - 1][0], seen[0]))
    return pairs


def asked(places: list[Place], runs: list[list[Seen]], pairs: list[Pair]) -> Iterator[str]:
    """Asks for what is known of all runs and keeps it; yields what could not be told, and what `toolkit diff` finds."""
    of_runs = [(place, one, place.asks_of(one)) for place, seen in zip(places, runs, strict=True) for one in seen]
    diffs = [] if places[0].case.expect.nothing else pairs
    asks = [ask for _, _, several in of_runs for ask in several]
    asks += [place.diff_of(one, other) for place, one, other in diffs]
    cluster = next((place.scratch for place in places if place.environment == "argo"), None)
    answers = iter(ask(asks, cluster))
    for place, one, several in of_runs:
        for line in place.take(one, [next(answers) for _ in several]):
            yield f"{line}\nwhat the run itself said ({one.result.code}): {one.result.err}"
    for (_, one, other), answer in zip(diffs, answers, strict=True):
        named = f"toolkit diff of {one.run_id} and {other.run_id}"
        if answer.code not in (0, 1):
            yield f"{named} ends with {answer.code}: {answer.err}"
            continue
        for row in json.loads(answer.out)["differences"]:
            yield f"{named}: {row}"


def test_the_page_explains_each_exemption_and_no_other() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert sorted(rows[2:]) == sorted(one.name for one in exemptions.ALL)
    used = {one for case in CASES for one in case.exempt.values()}
    assert used == set(exemptions.ALL), "an exemption that nothing needs is to be removed"


def test_names_of_cases_fit_and_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert all(len(name) <= 24 and name.replace("-", "").isalnum() for name in names)
