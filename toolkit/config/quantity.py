"""Parses Kubernetes' notation of amounts (``500m``, ``2Gi``, ``1e3``) exactly, into bytes and thousandths of a CPU."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil

_FORM = re.compile(
    r"(?P<sign>[-+]?)(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<power>[-+]?[0-9]{1,3})|(?P<suffix>[a-zA-Z]*))"
)
_SUFFIXES: dict[str, Fraction] = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
}
_SUFFIXES.update({suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", 1)})
_SUFFIXES.update({suffix + "i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", 1)})
_LARGEST = 2**63 - 1
"""The bound that Kubernetes has."""


def _parse(text: str) -> Fraction:
    match = _FORM.fullmatch(text) if len(text) <= 100 and text.isascii() else None
    if not match or match["sign"] == "-":
        raise ValueError("is not an amount such as 500m, 2, 512Mi or 2Gi")
    number = Fraction(match["number"].rstrip("."))
    if match["power"]:
        return number * Fraction(10) ** int(match["power"])
    suffix = match["suffix"]
    if suffix not in _SUFFIXES:
        suggestion = {unit.lower(): unit for unit in reversed(_SUFFIXES) if unit}.get(suffix.lower())
        hint = f"; did you mean {suggestion}?" if suggestion else ""
        raise ValueError(
            f"has the unknown unit {suffix}{hint} (the units are m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei)"
        )
    return number * _SUFFIXES[suffix]


def _bounded(amount: Fraction) -> Fraction:
    if amount > _LARGEST:
        raise ValueError("is larger than Kubernetes can hold")
    return amount


def parse_memory(text: str) -> int:
    """The amount in bytes. A fraction of a byte is rounded up, as Kubernetes does (``0.3Gi``).

    Raises:
        ValueError: it is no amount, is negative, or has a unit below one byte; the message continues a sentence (``is ...``).
    """
    amount = _bounded(_parse(text))
    if text.endswith(("m", "u", "n")):
        raise ValueError("counts parts of a byte; did you mean M or Mi?")
    return ceil(amount)


def parse_cpu(text: str) -> int:
    """The amount in thousandths of a CPU.

    Raises:
        ValueError: it is no amount, is negative, or is finer than a thousandth; the message continues a sentence (``is ...``).
    """
    amount = _bounded(_parse(text) * 1000)
    if amount.denominator != 1:
        raise ValueError("is finer than a thousandth of a CPU")
    return int(amount)
