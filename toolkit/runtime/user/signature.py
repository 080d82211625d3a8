"""What a callable takes: the names of its parameters, those it requires, and their annotations."""

from __future__ import annotations

import sys

from .imports import standard_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


class Signature:
    """What a callable takes.

    Attributes:
        positional: names that can only be given by position, in order.
        named: all other names, in order.
        required: the names without a default.
        everything: whether it has ``**kwargs`` and so takes the whole scope.
    """

    def __init__(
        self, positional: tuple[str, ...], named: tuple[str, ...], required: frozenset[str], everything: bool
    ) -> None:
        self.positional = positional
        self.named = named
        self.required = required
        self.everything = everything

    @property
    def names(self) -> tuple[str, ...]:
        return self.positional + self.named


def signature_of(function: Any) -> Signature:
    """The signature of any callable. ``inspect`` is imported only for what is not a plain function."""
    code = getattr(function, "__code__", None)
    if type(function).__name__ == "function" and code is not None and not hasattr(function, "__wrapped__"):
        count, keyword_only = code.co_argcount, code.co_kwonlyargcount
        names = code.co_varnames[: count + keyword_only]
        defaults = function.__defaults__ or ()
        optional = set(names[count - len(defaults) : count]) | set(function.__kwdefaults__ or ())
        only = code.co_posonlyargcount
        return Signature(names[:only], names[only:], frozenset(set(names) - optional), bool(code.co_flags & 0x08))
    return _signature_by_inspect(function)


def _signature_by_inspect(function: Any) -> Signature:
    inspect = standard_module("inspect")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return Signature((), (), frozenset(), False)
    # Each is compared with the constants of its own class: the signature may have been made by another copy of inspect.
    single = [item for item in parameters if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)]
    return Signature(
        tuple(item.name for item in single if item.kind is item.POSITIONAL_ONLY),
        tuple(item.name for item in single if item.kind is not item.POSITIONAL_ONLY),
        frozenset(item.name for item in single if item.default is item.empty),
        any(item.kind is item.VAR_KEYWORD for item in parameters),
    )


def namespace_parameter(function: Any) -> Optional[str]:
    """The one parameter of a function that takes nothing but an ``argparse.Namespace``, which gets all that is in scope.

    So the main function of a script with a command line can be a step as it is. None for any other function.
    """
    signature = signature_of(function)
    if len(signature.names) != 1 or signature.everything:
        return None
    [name] = signature.names
    annotation = getattr(function, "__annotations__", {}).get(name)
    # Only an annotation that may be it is resolved, which costs an import.
    if "Namespace" not in str(annotation):
        return None
    hint = hints_of(function).get(name)
    module, class_name = getattr(hint, "__module__", ""), getattr(hint, "__name__", "")
    return name if (module, class_name) == ("argparse", "Namespace") else None


def hints_of(target: Any) -> dict[str, object]:
    """The annotations of a function or class; those written as text are resolved where that is possible."""
    raw = dict(getattr(target, "__annotations__", {}))
    if isinstance(target, type) or any(isinstance(annotation, str) for annotation in raw.values()):
        typing = standard_module("typing")
        try:
            resolved: dict[str, object] = typing.get_type_hints(target)
            return resolved
        except Exception:
            # One of the names is known to type checkers alone. The other annotations are resolved one by one.
            home = sys.modules.get(getattr(target, "__module__", ""))
            space = getattr(target, "__globals__", None) or (vars(home) if home is not None else {})
            return {name: _resolve_annotation(annotation, space) for name, annotation in raw.items()}
    return raw


def _resolve_annotation(annotation: Any, space: dict[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, space)
    except Exception:
        return None
