"""The security contexts of our pods and their containers. Pure.

With the defaults the restricted Pod Security Standard accepts them, unless the user is root (0).
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.argo.cluster import KubernetesObject


def pod_security(user: int, group: int) -> KubernetesObject:
    """The security context of a pod whose processes have this user and group."""
    return {
        "runAsUser": user,
        "runAsGroup": group,
        "fsGroup": group,
        # Walking a whole catalog before each step would make every one as slow as the catalog is large.
        "fsGroupChangePolicy": "OnRootMismatch",
        "runAsNonRoot": user != 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(
    user: int,
    *,
    read_only_root: bool | None = None,
    privilege_escalation: bool = False,
    dropped_capabilities: Sequence[str] = ("ALL",),
) -> KubernetesObject:
    """The security context of one container.

    Args:
        user: of the pod. read_only_root: None leaves it to the container's own default.
        privilege_escalation: whether a program may gain rights that its parent has not, as setuid programs do.
    """
    return {
        "allowPrivilegeEscalation": privilege_escalation,
        "capabilities": {"drop": list(dropped_capabilities)},
        **({"readOnlyRootFilesystem": read_only_root} if read_only_root is not None else {}),
        "runAsNonRoot": user != 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
