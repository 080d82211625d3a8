"""The node's cgroups: one in each hierarchy, below which everything of the node runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .places import Failed, cgroup

CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


def hierarchies() -> list[tuple[Path, bool]]:
    """Where the kernel's cgroup hierarchies are mounted, and whether each is of version 2."""
    mounted: dict[Path, bool] = {}
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split(" ")
        if kind in ("cgroup", "cgroup2") and place.startswith("/sys/fs/cgroup"):
            mounted[Path(place)] = kind == "cgroup2"
    return sorted(mounted.items())


def make() -> list[str]:
    """Make the node's cgroups; returns the folders of those that process 1 joins.

    The daemons have a cgroup of their own beside that of the pods, because with version 2 only leaves may have processes.
    """
    members = []
    for root, unified in hierarchies():
        own = root / cgroup()
        leaf = own / "daemons"
        try:
            own.mkdir(exist_ok=True)
            prepare(own, root, unified)
            leaf.mkdir(exist_ok=True)
            prepare(leaf, own, False if not unified else None)
        except OSError as error:
            raise Failed(f"no cgroup for the node can be made in {root}: {error.strerror}") from error
        members.append(str(leaf))
    if not members:
        raise Failed("no cgroup hierarchy is mounted below /sys/fs/cgroup")
    return members


def prepare(folder: Path, parent: Path, unified: bool | None) -> None:
    """Make a new cgroup usable: enable controllers for its children (version 2), or give it the parent's CPUs and memory nodes."""
    if unified:
        available = (parent / "cgroup.controllers").read_text().split()
        enabled = " ".join(f"+{name}" for name in CONTROLLERS if name in available)
        for place in (parent, folder):
            if enabled:
                (place / "cgroup.subtree_control").write_text(enabled)
    elif unified is False:
        for name in ("cpuset.cpus", "cpuset.mems"):
            file = folder / name
            if file.exists() and not file.read_text().strip():
                file.write_text((parent / name).read_text())


def remove(limit: float = 10.0) -> None:
    """Remove the node's cgroups, after all of its processes have ended.

    Args:
        limit: in seconds.
    """
    end = time.monotonic() + limit
    for root, _ in hierarchies():
        own = root / cgroup()
        while own.is_dir():
            for folder, _, _ in os.walk(own, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass  # the kernel may not have removed its last process yet
            if own.is_dir():
                if time.monotonic() > end:
                    raise Failed(f"the cgroup {own} can't be removed")
                time.sleep(0.05)
