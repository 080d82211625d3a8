"""Amounts in Kubernetes' notation."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.config.quantity import parse_cpu, parse_memory

_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Ei": 2**60,
}


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("1", 1),
        ("+1", 1),
        ("1.", 1),
        (".5Ki", 512),
        ("1.5Gi", 3 * 2**29),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("12e-1", 2),
        ("0.3Gi", 322122548),
        ("7Ei", 7 * 2**60),
        ("128974848", 128974848),
        ("129M", 129_000_000),
    ],
)
def test_memory(text: str, amount: int) -> None:
    assert parse_memory(text) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1", 1000), ("500m", 500), ("0.1", 100), ("2.5", 2500), ("1k", 10**6), ("1e-3", 1), ("1000u", 1)],
)
def test_cpu(text: str, amount: int) -> None:
    assert parse_cpu(text) == amount


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "amount"),
        (" 1", "amount"),
        ("-1", "amount"),
        ("1 Gi", "amount"),
        ("Gi", "amount"),
        ("1e", "unit"),
        ("1Gib", "unit"),
        ("1gi", "mean Gi"),
        ("1K", "mean k"),
        ("1GI", "mean Gi"),
        ("500m", "parts of a byte"),
        ("8Ei", "larger"),
        ("1e999", "larger"),
        ("1e99999999999", "amount"),
        ("١", "amount"),
        ("1" * 101, "amount"),
        ("0x10", "amount"),
        ("1_000", "amount"),
        ("nan", "amount"),
    ],
)
def test_no_memory(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_memory(text)


def test_a_cpu_has_no_finer_part_than_a_thousandth() -> None:
    with pytest.raises(ValueError, match="finer"):
        parse_cpu("0.0005")


@given(st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(sorted(_UNITS)))
def test_decimal_fractions_are_exact(whole: int, part: int, unit: str) -> None:
    exact = (Fraction(whole) + Fraction(part, 1000)) * _UNITS[unit]
    text = f"{whole}.{part:03}{unit}"
    if exact > 2**63 - 1:
        with pytest.raises(ValueError, match="larger"):
            parse_memory(text)
    else:
        assert parse_memory(text) == ceil(exact)


@given(st.text("0123456789.eE+-mkKMGi", max_size=12) | st.text(max_size=20))
def test_any_text_is_an_amount_or_a_value_error(text: str) -> None:
    for parse in (parse_memory, parse_cpu):
        try:
            assert 0 <= parse(text) <= 2**63 - 1
        except ValueError:
            pass
