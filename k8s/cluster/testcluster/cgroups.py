"""The node's cgroups: one of its own in each hierarchy, so that taking it away takes everything of the node with it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .places import Failed, cgroup

CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


def hierarchies() -> list[tuple[Path, bool]]:
    """Where the kernel's cgroup hierarchies are mounted, and whether each is of version 2."""
    found: dict[Path, bool] = {}
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split(" ")
        if kind in ("cgroup", "cgroup2") and place.startswith("/sys/fs/cgroup"):
            found[Path(place)] = kind == "cgroup2"
    return sorted(found.items())


def make() -> list[str]:
    """Make the node's cgroups; the answer is the folders whose process 1 becomes a member.

    The daemons are in one of their own beside that of the pods: with version 2, only leaves may have processes.
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
    """Make a new cgroup usable: hand down controllers (version 2), or the CPUs and memory that it starts without."""
    if unified:
        has = (parent / "cgroup.controllers").read_text().split()
        wanted = " ".join(f"+{name}" for name in CONTROLLERS if name in has)
        for place in (parent, folder):
            if wanted:
                (place / "cgroup.subtree_control").write_text(wanted)
    elif unified is False:
        for name in ("cpuset.cpus", "cpuset.mems"):
            file = folder / name
            if file.exists() and not file.read_text().strip():
                file.write_text((parent / name).read_text())


def remove(limit: float = 10.0) -> None:
    """Remove the node's cgroups; all of its processes have ended."""
    end = time.monotonic() + limit
    for root, _ in hierarchies():
        own = root / cgroup()
        while own.is_dir():
            for folder, _, _ in os.walk(own, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass  # the kernel may still be at its processes' end
            if own.is_dir():
                if time.monotonic() > end:
                    raise Failed(f"the cgroup {own} can't be removed")
                time.sleep(0.05)
