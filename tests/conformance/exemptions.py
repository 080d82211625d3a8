"""All that an environment may do otherwise than the others, each with its reason (docs/conformance.md says more)."""

from __future__ import annotations

from tests.conformance.case import Exemption

NO_LIMITS = Exemption("no limits", "a plain process has no control group: nobody limits its memory or processors")
NO_USER = Exemption("no user", "a plain process runs as whoever runs the command, in the groups of that user")
NO_CONTAINER = Exemption("no container", "a plain process has no root, mounts, capabilities or hosts of its own")
INHERITED = Exemption("inherited environment", "a plain process inherits the variables of the command's environment")
ORPHANS = Exemption(
    "orphans", "a plain process whose runtime is killed, or that takes a session of its own, is not ended with its step"
)
CLUSTER_SECRETS = Exemption(
    "secrets of the cluster",
    "a missing Secret is found by the preflight, which ends with 3 as for all that a cluster lacks",
)

ALL = tuple(one for one in vars().values() if isinstance(one, Exemption))
