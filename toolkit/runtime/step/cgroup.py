"""The container's control group, as it is seen from inside: its limits, and the kernel's memory kills so far."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from ..shared.documents import LimitsRecord

_V1 = "/sys/fs/cgroup/memory/"
_V2 = "/sys/fs/cgroup/"
_UNLIMITED = 1 << 60
"""cgroup v1 writes 'no limit' as the largest multiple of a page that fits."""


def _read_text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def memory_kills() -> int:
    """How many processes of this container the kernel has killed for memory so far."""
    for path in (_V2 + "memory.events", _V1 + "memory.oom_control"):
        for line in _read_text(path).splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def limits() -> LimitsRecord:
    """The limits in force: ``memory`` in bytes and ``cpu`` in thousandths of a core; None is no limit."""
    memory = _read_text(_V2 + "memory.max") or _read_text(_V1 + "memory.limit_in_bytes")
    quota, _, period = _read_text(_V2 + "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = (
            _read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
            _read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
        )
    return {"memory": _number(memory), "cpu": _thousandths(quota, period)}


def _number(text: str) -> Optional[int]:
    text = text.strip()
    return int(text) if text.isdigit() and int(text) < _UNLIMITED else None


def _thousandths(quota: str, period: str) -> Optional[int]:
    quota_us, period_us = _number(quota), _number(period)
    return quota_us * 1000 // period_us if quota_us is not None and period_us else None
