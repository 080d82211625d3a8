"""What a callable takes: the names of its parameters, and those it requires."""

from __future__ import annotations

from .imports import standard_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


class Signature:
    """What a callable takes.

    Attributes:
        positional: names that can only be given by position, in order.
        named: all other names, in order.
        required: the names without a default. defaults: those of the others.
        rest: the name of ``**kwargs``, with which it takes the whole scope; empty where it has none.
    """

    def __init__(
        self,
        positional: tuple[str, ...],
        named: tuple[str, ...],
        required: frozenset[str],
        defaults: dict[str, Any],
        rest: str,
    ) -> None:
        self.positional = positional
        self.named = named
        self.required = required
        self.defaults = defaults
        self.rest = rest

    @property
    def optional(self) -> frozenset[str]:
        """The names whose default is None, which is a value for them whatever their annotation."""
        return frozenset(name for name, default in self.defaults.items() if default is None)

    @property
    def everything(self) -> bool:
        return bool(self.rest)

    @property
    def names(self) -> tuple[str, ...]:
        return self.positional + self.named


def signature_of(function: Any) -> Signature:
    """The signature of any callable. ``inspect`` is imported only for what is not a plain function."""
    code = getattr(function, "__code__", None)
    if type(function).__name__ == "function" and code is not None and not hasattr(function, "__wrapped__"):
        count, keyword_only = code.co_argcount, code.co_kwonlyargcount
        names = code.co_varnames[: count + keyword_only]
        by_position = function.__defaults__ or ()
        defaults = {
            **dict(zip(names[count - len(by_position) : count], by_position)),
            **(function.__kwdefaults__ or {}),
        }
        only = code.co_posonlyargcount
        has_rest, has_positional_rest = code.co_flags & 0x08, bool(code.co_flags & 0x04)
        return Signature(
            names[:only],
            names[only:],
            frozenset(set(names) - set(defaults)),
            defaults,
            code.co_varnames[count + keyword_only + has_positional_rest] if has_rest else "",
        )
    return _signature_by_inspect(function)


def _signature_by_inspect(function: Any) -> Signature:
    inspect = standard_module("inspect")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return Signature((), (), frozenset(), {}, "")
    # Each is compared with the constants of its own class: the signature may have been made by another copy of inspect.
    single = [item for item in parameters if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)]
    return Signature(
        tuple(item.name for item in single if item.kind is item.POSITIONAL_ONLY),
        tuple(item.name for item in single if item.kind is not item.POSITIONAL_ONLY),
        frozenset(item.name for item in single if item.default is item.empty),
        {item.name: item.default for item in single if item.default is not item.empty},
        next((item.name for item in parameters if item.kind is item.VAR_KEYWORD), ""),
    )


def namespace_parameter(function: Any, signature: Signature) -> Optional[str]:
    """The one parameter of a function that takes nothing but an ``argparse.Namespace``, which gets all that is in scope.

    So the main function of a script with a command line can be a step as it is. None for any other function.
    """
    if len(signature.names) != 1 or signature.everything:
        return None
    [name] = signature.names
    annotation = getattr(function, "__annotations__", {}).get(name)
    # Only an annotation that may be it is resolved, which costs an import.
    if "Namespace" not in str(annotation):
        return None
    from .hints import hints_of

    hint = hints_of(function).get(name)
    module, class_name = getattr(hint, "__module__", ""), getattr(hint, "__name__", "")
    return name if (module, class_name) == ("argparse", "Namespace") else None
