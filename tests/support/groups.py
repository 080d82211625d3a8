"""Which tests one worker has together: xdist's own groups by a mark do nothing with the pytest that is used here."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

CASES = pytest.StashKey[dict[str, str]]()
"""The group of each conformance case that runs on a cluster."""
FOLDERS = ("tests/argo/", "tests/conformance/")


def on_cluster(config: pytest.Config) -> bool:
    """Whether tests on a cluster were asked for, by their folder."""
    return bool({"argo", "conformance"} & {part for one in config.args for part in Path(one.partition("::")[0]).parts})


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """The tests of a file on a cluster share a namespace and an image; a conformance case is run, and then looked at."""

    config: pytest.Config

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file.endswith("test_conformance.py") and "[" in test:
            case = test.partition("[")[2].removesuffix("]")
            return self.config.stash.get(CASES, {}).get(case, nodeid)
        return file if file.startswith(FOLDERS) else nodeid
