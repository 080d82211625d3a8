"""Groups of tests that one worker of xdist runs. xdist's own groups, by a mark, have no effect with this version of pytest."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

CASES = pytest.StashKey[dict[str, str]]()
"""The group of each conformance case that runs on a cluster."""
FOLDERS = ("tests/argo/", "tests/conformance/")


def on_cluster(config: pytest.Config) -> bool:
    """Whether the command line names a folder of tests on a cluster."""
    return bool({"argo", "conformance"} & {part for one in config.args for part in Path(one.partition("::")[0]).parts})


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps a file's tests on a cluster together, which share a namespace and an image, and the tests of a conformance case."""

    config: pytest.Config

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file.endswith("test_conformance.py") and "[" in test:
            case = test.partition("[")[2].removesuffix("]")
            return self.config.stash.get(CASES, {}).get(case, nodeid)
        return file if file.startswith(FOLDERS) else nodeid
