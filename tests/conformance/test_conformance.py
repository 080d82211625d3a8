"""Each case gives the same in each environment: what it expects, and in all that it does not name the same as the others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance import exemptions
from tests.conformance.case import Case, Environment
from tests.conformance.cases import CASES
from tests.conformance.expecting import problems
from tests.conformance.running import Place, Seen, differences, normalised
from tests.conftest import without_images

if TYPE_CHECKING:
    from tests.argo.conftest import Workplace

pytestmark = [pytest.mark.docker, pytest.mark.argo, pytest.mark.timeout(600)]

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
        found = [f"{one.environment}: {line}" for seen in runs for one in seen for line in problems(case, one)]
        found += compared(root, places, runs)
    assert not found, "\n" + "\n".join(found)


def run_all(place: Place, case: Case) -> list[Seen]:
    """Each of the case's pipelines in one environment."""
    return [place.run(pipeline, nth) for nth, pipeline in enumerate((case.pipeline, *case.also))]


def compared(root: Path, places: list[Place], runs: list[list[Seen]]) -> Iterator[str]:
    """Where a run is not what the one in the environment before is, or another form in the same environment."""
    for position, (place, seen) in enumerate(zip(places, runs, strict=True)):
        pairs = [(seen[0], other) for other in seen[1:]]
        if position:
            pairs.append((runs[position - 1][0], seen[0]))
        for one, other in pairs:
            named = f"{one.run_id} and {other.run_id}"
            for line in differences(normalised(one, root), normalised(other, root)):
                yield f"{named} differ: {line}"
            if one.run is not None and other.run is not None:
                for row in place.diff(one, other)["differences"]:
                    yield f"toolkit diff of {named}: {row}"


def test_the_page_explains_each_exemption_and_no_other() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert sorted(rows[2:]) == sorted(one.name for one in exemptions.ALL)
    used = {one for case in CASES for one in case.exempt.values()}
    assert used == set(exemptions.ALL), "an exemption that nothing needs is to be removed"


def test_names_of_cases_fit_and_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert all(len(name) <= 24 and name.replace("-", "").isalnum() for name in names)
