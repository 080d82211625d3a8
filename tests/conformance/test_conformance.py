"""Each case runs as it expects in each environment, and is the same in all of them in what it does not name."""

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
from tests.conformance.expectations import problems
from tests.conformance.observed_run import CaseEnvironment, ObservedRun, answers_to, differences, normalised
from tests.support.engine import without_images

if TYPE_CHECKING:
    from tests.support.workplace import Workplace

pytestmark = [pytest.mark.timeout(1800)]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    rows = [(case, selected(metafunc.config, case)) for case in CASES]
    # A case without a cluster runs when its results are checked.
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
class PlayedCase:
    """A case that has run in its environments.

    Attributes:
        runs: for each environment, a run of each of the case's pipelines.
        problems: what is known to be wrong with them.
        queried: whether the queries about the runs have been answered.
    """

    case: Case
    environments: list[CaseEnvironment]
    runs: list[list[ObservedRun]]
    problems: list[str] = field(default_factory=list)
    queried: bool = False


PLAYED: dict[str, PlayedCase | None] = {}
"""The cases that this worker has run, by name; None for one whose commands have not all ended."""


def play(case: Case, pytestconfig: pytest.Config, workplace: Workplace | None, folder: Path) -> PlayedCase:
    """Runs a case in all of its environments at once."""
    # Given a project that all environments share. Its name is its own, because images are tagged by it.
    root = folder / f"{case.name}-{os.urandom(2).hex()}"
    for name, text in case.project().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    names = selected(pytestconfig, case)
    environments = [
        CaseEnvironment(name, case, root, folder / name, workplace if name == "argo" else None) for name in names
    ]
    with ExitStack() as stack:
        if set(names) - {"process"}:
            stack.enter_context(without_images(root))
        with ThreadPoolExecutor(len(environments)) as pool:
            runs = list(pool.map(lambda environment: run_all(environment, case), environments))
        found = [line for environment in environments if only_compiles(environment) for line in compiled(environment)]
    return PlayedCase(case, environments, runs, found)


@pytest.fixture
def played(case: Case, pytestconfig: pytest.Config, request: pytest.FixtureRequest, tmp_path: Path) -> PlayedCase:
    """The case, run by this worker before or now."""
    if case.name not in PLAYED:
        on_cluster = "argo" in selected(pytestconfig, case)
        workplace: Workplace | None = request.getfixturevalue("workplace") if on_cluster else None
        PLAYED[case.name] = None
        PLAYED[case.name] = play(case, pytestconfig, workplace, tmp_path)
    played_case = PLAYED[case.name]
    if played_case is None:
        pytest.fail("it did not run: test_a_case_runs of the same case says why")
    return played_case


def test_a_case_runs(case: Case, played: PlayedCase) -> None:
    """The commands end. A run takes as long as its case has steps, which run one after the other on a cluster."""
    assert played.case is case


def test_a_case_is_the_same_everywhere(case: Case, played: PlayedCase) -> None:
    """The first of a worker's cases takes longer, because it makes the queries about all of them."""
    if not played.queried:
        query([waiting for waiting in PLAYED.values() if waiting is not None and not waiting.queried])
    lines = list(played.problems)
    # It is as expected in each environment, and the same in everything else.
    lines += [f"{run.environment}: {line}" for runs in played.runs for run in runs for line in problems(case, run)]
    for environment, first, second in pairs_of(played):
        differing = differences(normalised(first, environment.root), normalised(second, environment.root))
        lines += [f"{first.run_id} and {second.run_id} differ: {line}" for line in differing]
    assert not lines, "\n" + "\n".join(lines)


def only_compiles(environment: CaseEnvironment) -> bool:
    """Whether the environment runs only the first of the case's pipelines, and compiles the others."""
    return environment.case.compiles and environment.environment == "argo"


def run_all(environment: CaseEnvironment, case: Case) -> list[ObservedRun]:
    """Each of the case's pipelines in one environment."""
    also = () if only_compiles(environment) else case.also
    return [environment.run(pipeline, nth) for nth, pipeline in enumerate((case.pipeline, *also))]


def compiled(environment: CaseEnvironment) -> Iterator[str]:
    """The differences between what the first form submits and what the others do."""
    first = environment.manifest(environment.case.pipeline)
    for other in environment.case.also:
        for line in differences(first, environment.manifest(other)):
            yield f"{environment.case.pipeline} and {other} compile to different objects: {line}"


Pair: TypeAlias = tuple[CaseEnvironment, ObservedRun, ObservedRun]


def pairs_of(played: PlayedCase) -> list[Pair]:
    """The runs that must be the same: those of two neighbouring environments, and of each form and the first one."""
    pairs: list[Pair] = []
    for position, (environment, runs) in enumerate(zip(played.environments, played.runs, strict=True)):
        pairs += [(environment, runs[0], other) for other in runs[1:]]
        if position:
            pairs.append((environment, played.runs[position - 1][0], runs[0]))
    return pairs


def query(cases: list[PlayedCase]) -> None:
    """Makes the queries about the cases' runs and keeps the answers, with what failed and what `toolkit diff` finds."""
    of_runs = [
        (played, environment, run, environment.queries_about(run))
        for played in cases
        for environment, runs in zip(played.environments, played.runs, strict=True)
        for run in runs
    ]
    of_pairs = [
        (played, first, second, environment.diff_query(first, second))
        for played in cases
        if not played.case.expect.no_run
        for environment, first, second in pairs_of(played)
    ]
    on_cluster = [
        (environment.scratch, run.run_id)
        for _, environment, run, queries in of_runs
        if environment.environment == "argo" and queries
    ]
    every_query = [*(each for *_, queries in of_runs for each in queries), *(diff for *_, diff in of_pairs)]
    answers = iter(answers_to(every_query, on_cluster))
    for played, environment, run, queries in of_runs:
        for line in environment.keep_answers(run, [next(answers) for _ in queries]):
            played.problems.append(f"{line}\nthe output of the run itself ({run.result.code}): {run.result.err}")
    for (played, first, second, _), answer in zip(of_pairs, answers, strict=True):
        title = f"toolkit diff of {first.run_id} and {second.run_id}"
        if answer.code not in (0, 1):
            played.problems.append(f"{title} ends with {answer.code}: {answer.err}")
            continue
        played.problems += [f"{title}: {row}" for row in json.loads(answer.out)["differences"]]
    for played in cases:
        played.queried = True


def test_the_page_explains_each_exemption_and_no_other() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert sorted(rows[2:]) == sorted(exemption.name for exemption in exemptions.ALL)
    used = {exemption for case in CASES for exemption in case.exempt.values()}
    assert used == set(exemptions.ALL), "an exemption that nothing needs is to be removed"


def test_names_of_cases_fit_and_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert all(len(name) <= 24 and name.replace("-", "").isalnum() for name in names)
