"""The exemptions, each with its reason (docs/conformance.md says more)."""

from __future__ import annotations

from tests.conformance.case import Exemption

NO_LIMITS = Exemption("no limits", "a plain process has no control group, so nothing limits its memory or processors")
NO_USER = Exemption("no user", "a plain process runs as the user of the command, with the groups of that user")
NO_CONTAINER = Exemption("no container", "a plain process has no root, mounts, capabilities or hosts of its own")
INHERITED = Exemption("inherited environment", "a plain process inherits the environment variables of the command")
ORPHANS = Exemption(
    "orphans", "a plain process whose runtime is killed, or that takes a session of its own, is not ended with its step"
)
CLUSTER_SECRETS = Exemption(
    "secrets of the cluster",
    "preflight detects a missing Secret, and exits with 3 as for everything that a cluster lacks",
)

ALL = tuple(value for value in vars().values() if isinstance(value, Exemption))
