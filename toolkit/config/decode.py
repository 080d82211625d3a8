"""A located tree to named tuples, by their type hints, without silent coercion.

Knows nothing of the configuration itself: what a field may hold beyond its type comes in as Rules.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from toolkit.config.located import Located
from toolkit.errors import BadInput

T = TypeVar("T")
Field = tuple[type, str]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")


@dataclass(frozen=True)
class Rules:
    """What fields may hold beyond their types.

    A check raises ValueError with a message that continues a sentence (``is ...``, ``must ...``).

    Attributes:
        checks: for a field, or each item of a list or value of a mapping: takes the decoded value.
        key_checks: for each key of a mapping field.
        aliases: other spellings of a field's key.
        amounts: text fields in which an unquoted number is an amount, taken as it is written.
    """

    checks: Mapping[Field, Callable[[Any], None]] = field(default_factory=dict)
    key_checks: Mapping[Field, Callable[[str], None]] = field(default_factory=dict)
    aliases: Mapping[tuple[type, str], str] = field(default_factory=dict)
    amounts: Collection[Field] = frozenset()


NO_RULES = Rules()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, whatever its case and with ``-`` or ``_``; None when none is near."""
    names = {_folded(name): name for name in known}
    # Comparing is quadratic in the length, and no name is long.
    found = difflib.get_close_matches(_folded(word[:80]), names, 1, 0.6)
    return names[found[0]] if found else None


def _folded(name: str) -> str:
    return re.sub(r"[-_. ]", "", name).lower() or name


def expect_mapping(tree: Located, name: str) -> dict[str, Located]:
    """The mapping's entries; nothing at all is an empty mapping.

    Raises:
        BadInput: it is something else.
    """
    if tree.value is None:
        return {}
    if not isinstance(tree.value, dict):
        raise BadInput(f"{name} must be a mapping of keys to values, but this is {tree.described()}", tree.where)
    return tree.value


def unknown_key(tree: Located, key: str, name: str, known: Iterable[str], elsewhere: Mapping[str, str]) -> BadInput:
    """The error for a key that the mapping has no place for.

    Args:
        elsewhere: keys that belong somewhere else, and where.
    """
    names = sorted(known)
    place = f" in {name}" if name else ""
    spelt = repr(key if len(key) <= 60 else key[:57] + "...")
    meant = nearest(key, names)
    if key in elsewhere:
        hint = f"it belongs under {elsewhere[key]}"
    elif meant is not None:
        hint = f"did you mean {meant!r}?"
    elif names:
        hint = f"the known keys are {', '.join(names)}"
    else:
        hint = "no key is known here"
    return BadInput(f"unknown key {spelt}{place}; {hint}", tree.key_where(key))


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def decode(tree: Located, cls: type[T], name: str, rules: Rules = NO_RULES) -> T:
    """The named tuple that the mapping describes; what is not given has its default.

    Args:
        name: the mapping's own name in messages, as ``executor.config``.

    Raises:
        BadInput: with file and line, for an unknown key, a wrong type, a missing required key or a broken rule.
    """
    return cls(**decode_fields(tree, cls, name, rules))


def decode_fields(
    tree: Located,
    cls: type,
    name: str,
    rules: Rules = NO_RULES,
    omit: Collection[str] = (),
    elsewhere: Mapping[str, str] = {},
) -> dict[str, Any]:
    """The same, as arguments of the named tuple; the fields in ``omit`` are no keys of this mapping."""
    hints = {key: hint for key, hint in _hints(cls).items() if key not in omit}
    given: dict[str, Any] = {}
    spelt_as: dict[str, str] = {}
    for key, item in expect_mapping(tree, name).items():
        right = rules.aliases.get((cls, key), key)
        if right not in hints:
            raise unknown_key(tree, key, name, hints, elsewhere)
        if right in given:
            raise BadInput(
                f"{key!r} and {spelt_as[right]!r} in {name} are the same setting; keep one", tree.key_where(key)
            )
        spelt_as[right] = key
        given[right] = _Field((cls, right), f"{name}.{key}", rules).decode(item, hints[right])
        if given[right] is _AS_DEFAULT:
            del given[right]
    defaults = cls._field_defaults  # type: ignore[attr-defined]
    for key in hints:
        if key not in defaults and key not in given:
            raise BadInput(f"{name} needs the key {key!r}", tree.where)
    return given


_AS_DEFAULT = object()
"""What a section without content decodes to: a key with nothing but comments below it."""


@dataclass(frozen=True)
class _Field:
    """One field being decoded; ``name`` is its path in messages."""

    field: Field
    name: str
    rules: Rules

    def fail(self, tree: Located, message: str) -> NoReturn:
        raise BadInput(f"{self.name} {message}", tree.where)

    def decode(self, tree: Located, hint: Any) -> Any:
        origin = get_origin(hint)
        if origin in (Union, UnionType):
            if tree.value is None:
                return None
            (hint,) = (arg for arg in get_args(hint) if arg is not type(None))
            origin = get_origin(hint)
        if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
            return _AS_DEFAULT if tree.value is None else decode(tree, hint, self.name, self.rules)
        if origin is tuple:
            return self.items(tree, get_args(hint)[0])
        if origin is dict:
            return self.entries(tree, get_args(hint)[1])
        value = self.choice(tree, get_args(hint)) if origin is Literal else self.scalar(tree, hint)
        self.check(self.rules.checks.get(self.field), tree, value)
        return value

    def check(self, check: Callable[[Any], None] | None, tree: Located, value: Any) -> None:
        try:
            if check is not None:
                check(value)
        except ValueError as error:
            spelt = tree.text if isinstance(tree.value, str) and tree.text is not None else str(value)
            spelt = spelt if len(spelt) <= 60 else spelt[:57] + "..."
            self.fail(tree, f"{error}: {spelt!r}" if isinstance(value, str) else f"{error}, not {spelt}")

    def items(self, tree: Located, hint: Any) -> Any:
        if tree.value is None:
            return _AS_DEFAULT
        if not isinstance(tree.value, tuple):
            self.fail(tree, f"must be a list (a line with - for each item), but this is {tree.described()}")
        decoded = []
        for number, item in enumerate(tree.value):
            if item.value is None:
                _Field(self.field, f"{self.name}[{number}]", self.rules).fail(item, "has no value")
            decoded.append(_Field(self.field, f"{self.name}[{number}]", self.rules).decode(item, hint))
        return tuple(decoded)

    def entries(self, tree: Located, hint: Any) -> Any:
        if tree.value is None:
            return _AS_DEFAULT
        decoded: dict[str, Any] = {}
        for key, item in expect_mapping(tree, self.name).items():
            inner = _Field(self.field, f"{self.name}.{key[:60]}", self.rules)
            try:
                self.rules.key_checks.get(self.field, _any)(key)
            except ValueError as error:
                raise BadInput(f"the key {key[:60]!r} of {self.name} {error}", tree.key_where(key)) from None
            decoded[key] = inner.decode(item, hint)
            if decoded[key] is _AS_DEFAULT:
                decoded[key] = hint()
        return decoded

    def choice(self, tree: Located, choices: tuple[Any, ...]) -> str:
        text = self.text(tree)
        if text in choices:
            return text
        meant = nearest(text, choices)
        hint = f"did you mean {meant}? " if meant else ""
        self.fail(tree, f"can't be {text[:60]!r}; {hint}(one of {', '.join(choices)})")

    def scalar(self, tree: Located, hint: Any) -> Any:
        if hint is str:
            return self.text(tree)
        if tree.value is None:
            self.fail(tree, "has no value; give one or remove the key")
        if hint is bool:
            if isinstance(tree.value, bool):
                return tree.value
            if tree.variable and tree.value in ("true", "false"):
                return tree.value == "true"
            self.fail(tree, f"must be true or false, but this is {tree.described()}")
        if hint is int:
            if isinstance(tree.value, int) and not isinstance(tree.value, bool):
                return tree.value
            if tree.variable and isinstance(tree.value, str) and _INTEGER.fullmatch(tree.value):
                return int(tree.value)
            self.fail(tree, f"must be a whole number, but this is {tree.described()}{_unquote(tree)}")
        if hint is float:
            return self.number(tree)
        raise TypeError(f"no decoding for {hint!r}")

    def number(self, tree: Located) -> float:
        value = tree.value
        if tree.variable and isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                pass
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(tree, f"must be a number, but this is {tree.described()}{_unquote(tree)}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fail(tree, f"must be an ordinary number, but this is {tree.described()}")
        return number

    def text(self, tree: Located) -> str:
        value = tree.value
        if isinstance(value, str):
            if "\0" in value:
                self.fail(tree, "holds the character NUL, which no program can be given")
            return value
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and tree.text is not None and self.field in self.rules.amounts:
            return tree.text
        if isinstance(value, (dict, tuple)):
            self.fail(tree, f"must be a text, but this is {tree.described()}")
        if value is None and not tree.text:
            self.fail(tree, 'has no value; give one, or "" for an empty text')
        self.fail(tree, f'must be a text, but this is {tree.described()}; put it in quotes: "{(tree.text or "")[:60]}"')


def _any(_: str) -> None:
    """The check of keys that may be anything."""


def _unquote(tree: Located) -> str:
    is_number = (
        isinstance(tree.value, str) and not tree.variable and re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?", tree.value)
    )
    return "; write it without quotes" if is_number else ""
