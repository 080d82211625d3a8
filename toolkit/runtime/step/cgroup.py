"""What the kernel's control groups say from inside a container: memory kills so far, and the limits in force."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

_V1 = "/sys/fs/cgroup/memory/"
_V2 = "/sys/fs/cgroup/"
_UNLIMITED = 1 << 60
"""cgroup v1 writes 'no limit' as the largest multiple of a page that fits."""


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def memory_kills() -> int:
    """How many processes of this container the kernel has killed for memory so far."""
    for path in (_V2 + "memory.events", _V1 + "memory.oom_control"):
        for line in _text(path).splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def limits() -> dict[str, Optional[int]]:
    """The limits in force: ``memory`` in bytes and ``cpu`` in thousandths of a core; None is no limit."""
    memory = _text(_V2 + "memory.max") or _text(_V1 + "memory.limit_in_bytes")
    quota, _, period = _text(_V2 + "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = _text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), _text("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return {"memory": _number(memory), "cpu": _share(quota, period)}


def _number(text: str) -> Optional[int]:
    text = text.strip()
    return int(text) if text.isdigit() and int(text) < _UNLIMITED else None


def _share(quota: str, period: str) -> Any:
    of, per = _number(quota), _number(period)
    return of * 1000 // per if of is not None and per else None
