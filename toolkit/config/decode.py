"""Decodes a located tree into named tuples, by their type hints, without silent coercion.

It knows nothing of the configuration itself. What a field may hold, beyond its type, is given as Rules.
"""

from __future__ import annotations

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
"""A named tuple and the name of one of its fields."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")


@dataclass(frozen=True)
class Rules:
    """What fields may hold, beyond their types.

    A check raises ValueError. Its message continues a sentence that begins with the field's name (``is ...``, ``must ...``).

    Attributes:
        checks: take the decoded value of a field, or each item of a list, or each value of a mapping.
        key_checks: take each key of a field that is a mapping.
        aliases: for other spellings of a field's key, the field's name.
        amounts: text fields that also take an unquoted number, as it is written.
        short_forms: named tuples that may be a text, with the field which that is.
        elsewhere: for keys that belong below another key of their mapping, that key.
    """

    checks: Mapping[Field, Callable[[Any], None]] = field(default_factory=dict)
    key_checks: Mapping[Field, Callable[[str], None]] = field(default_factory=dict)
    aliases: Mapping[tuple[type, str], str] = field(default_factory=dict)
    amounts: Collection[Field] = frozenset()
    short_forms: Mapping[type, str] = field(default_factory=dict)
    elsewhere: Mapping[type, Mapping[str, str]] = field(default_factory=dict)


NO_RULES = Rules()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that is most like the word, without regard to case, ``-`` and ``_``; None when none is like it."""
    names = {_folded(name): name for name in known}
    # Cut, because comparing is quadratic in the length.
    import difflib  # it takes a millisecond, and only a mistake needs it

    matches = difflib.get_close_matches(_folded(word[:80]), names, 1, 0.6)
    return names[matches[0]] if matches else None


def suggested(word: str, known: Iterable[str]) -> str:
    """`` (did you mean …?)`` for the end of a sentence, with the nearest known name; empty when none is like the word."""
    name = nearest(word, known)
    return f" (did you mean {name!r}?)" if name else ""


def _folded(name: str) -> str:
    return re.sub(r"[-_. ]", "", name).lower() or name


def expect_mapping(tree: Located, name: str) -> dict[str, Located]:
    """The mapping's entries; an empty value is an empty mapping.

    Raises:
        BadInput: the value is not a mapping.
    """
    if tree.value is None:
        return {}
    if not isinstance(tree.value, dict):
        raise BadInput(f"{name} must be a mapping of keys to values, but this is {tree.described()}", tree.where)
    return tree.value


def unknown_key(tree: Located, key: str, name: str, known: Iterable[str], elsewhere: Mapping[str, str]) -> BadInput:
    """The error for a key that the mapping has no place for.

    Args:
        elsewhere: for keys that belong to another mapping, that mapping's name.
    """
    names = sorted(known)
    place = f" in {name}" if name else ""
    shown = repr(key if len(key) <= 60 else key[:57] + "...")
    suggestion = nearest(key, names)
    if key in elsewhere:
        hint = f"it belongs under {elsewhere[key]}"
    elif suggestion is not None:
        hint = f"did you mean {suggestion!r}?"
    elif names:
        hint = f"the known keys are {', '.join(names)}"
    else:
        hint = "it takes no keys"
    return BadInput(f"unknown key {shown}{place}; {hint}", tree.key_where(key))


@cache
def _type_hints(cls: type) -> dict[str, object]:
    return get_type_hints(cls)


def decode(tree: Located, cls: type[T], name: str, rules: Rules = NO_RULES) -> T:
    """The named tuple that the mapping describes. Fields that are not given have their defaults.

    Args:
        name: the mapping's own name in messages, as ``executor.config``.

    Raises:
        BadInput: with file and line, for an unknown key, a wrong type, a missing required key or a broken rule.
    """
    return cls(**decode_fields(tree, cls, name, rules, elsewhere=rules.elsewhere.get(cls, {})))


def decode_fields(
    tree: Located,
    cls: type,
    name: str,
    rules: Rules = NO_RULES,
    omit: Collection[str] = (),
    elsewhere: Mapping[str, str] = {},
) -> dict[str, object]:
    """What ``decode`` does, but returns the named tuple's arguments; the mapping can't have the keys in ``omit``."""
    hints = {key: hint for key, hint in _type_hints(cls).items() if key not in omit}
    values: dict[str, object] = {}
    spellings: dict[str, str] = {}
    for key, item in expect_mapping(tree, name).items():
        field_name = rules.aliases.get((cls, key), key)
        if field_name not in hints:
            raise unknown_key(tree, key, name, hints, elsewhere)
        if field_name in spellings:
            raise BadInput(
                f"{key!r} and {spellings[field_name]!r} in {name} are the same setting; keep one", tree.key_where(key)
            )
        spellings[field_name] = key
        path = f"{name}.{key}" if name else key
        value = _FieldDecoder((cls, field_name), path, rules).decode(item, hints[field_name])
        if value is not _USE_DEFAULT:
            values[field_name] = value
    defaults = cls._field_defaults  # type: ignore[attr-defined]
    for key in hints:
        if key not in defaults and key not in values:
            raise BadInput(f"{name} needs the key {key!r}", tree.where)
    return values


_USE_DEFAULT = object()
"""What a section without content decodes to: a key with only comments below it."""


@dataclass(frozen=True)
class _FieldDecoder:
    """Decodes one field. ``name`` is its path in messages."""

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
        if hint is Any:
            return tree.plain()
        if isinstance(tree.value, str) and (short := self.rules.short_forms.get(hint)) is not None:
            return hint(**{short: self.decode_text(tree)})
        if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
            return _USE_DEFAULT if tree.value is None else decode(tree, hint, self.name, self.rules)
        if origin is tuple:
            return self.decode_list(tree, get_args(hint)[0])
        if origin is dict:
            return self.decode_mapping(tree, get_args(hint)[1])
        value = self.decode_choice(tree, get_args(hint)) if origin is Literal else self.decode_scalar(tree, hint)
        self.check(self.rules.checks.get(self.field), tree, value)
        return value

    def check(self, check: Callable[[Any], None] | None, tree: Located, value: Any) -> None:
        try:
            if check is not None:
                check(value)
        except ValueError as error:
            shown = tree.text if isinstance(tree.value, str) and tree.text is not None else str(value)
            shown = shown if len(shown) <= 60 else shown[:57] + "..."
            self.fail(tree, f"{error}: {shown!r}" if isinstance(value, str) else f"{error}, not {shown}")

    def decode_list(self, tree: Located, hint: Any) -> Any:
        if tree.value is None:
            return _USE_DEFAULT
        if not isinstance(tree.value, tuple):
            self.fail(tree, f"must be a list (a line with - for each item), but this is {tree.described()}")
        decoded = []
        for position, item in enumerate(tree.value):
            item_decoder = _FieldDecoder(self.field, f"{self.name}[{position}]", self.rules)
            if item.value is None:
                item_decoder.fail(item, "has no value")
            decoded.append(item_decoder.decode(item, hint))
        return tuple(decoded)

    def decode_mapping(self, tree: Located, hint: Any) -> Any:
        if tree.value is None:
            return _USE_DEFAULT
        decoded: dict[str, object] = {}
        for key, item in expect_mapping(tree, self.name).items():
            value_decoder = _FieldDecoder(self.field, f"{self.name}.{key[:60]}", self.rules)
            try:
                self.rules.key_checks.get(self.field, _accept)(key)
            except ValueError as error:
                raise BadInput(f"the key {key[:60]!r} of {self.name} {error}", tree.key_where(key)) from None
            value = value_decoder.decode(item, hint)
            decoded[key] = hint() if value is _USE_DEFAULT else value
        return decoded

    def decode_choice(self, tree: Located, choices: tuple[Any, ...]) -> str:
        text = self.decode_text(tree)
        if text in choices:
            return text
        suggestion = nearest(text, choices)
        hint = f"; did you mean {suggestion}?" if suggestion else ""
        self.fail(tree, f"can't be {text[:60]!r}{hint} (one of {', '.join(choices)})")

    def decode_scalar(self, tree: Located, hint: Any) -> Any:
        if hint is str:
            return self.decode_text(tree)
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
            self.fail(tree, f"must be a whole number, but this is {tree.described()}{_unquote_hint(tree)}")
        if hint is float:
            return self.decode_number(tree)
        raise TypeError(f"no decoding for {hint!r}")

    def decode_number(self, tree: Located) -> float:
        value = tree.value
        if tree.variable and isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                pass
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(tree, f"must be a number, but this is {tree.described()}{_unquote_hint(tree)}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fail(tree, f"must be a finite number, but this is {tree.described()}")
        return number

    def decode_text(self, tree: Located) -> str:
        value = tree.value
        if isinstance(value, str):
            if "\0" in value:
                self.fail(
                    tree, "holds the character NUL, which neither an argument nor an environment variable can hold"
                )
            return value
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and tree.text is not None and self.field in self.rules.amounts:
            return tree.text
        if isinstance(value, (dict, tuple)):
            self.fail(tree, f"must be a text, but this is {tree.described()}")
        if value is None and not tree.text:
            self.fail(tree, 'has no value; give one, or "" for an empty text')
        self.fail(tree, f'must be a text, but this is {tree.described()}; put it in quotes: "{(tree.text or "")[:60]}"')


def _accept(_: str) -> None:
    """The check of keys that may be any text."""


def _unquote_hint(tree: Located) -> str:
    is_number = (
        isinstance(tree.value, str) and not tree.variable and re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?", tree.value)
    )
    return "; write it without quotes" if is_number else ""
