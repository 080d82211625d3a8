"""What runs only in the script itself, below ``if __name__ == "__main__"``. A step imports the file and has none of it."""

from __future__ import annotations

import sys

from . import imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType
    from typing import Any, Optional

_BODIES = ("body", "orelse", "finalbody")


class MainOnly:
    """The names that a file binds at module level, and which of them a step does not find.

    Args:
        source: the file's content, which can be compiled.
    """

    def __init__(self, source: bytes) -> None:
        self._ast = imports.standard_module("ast")
        self._bindings: dict[str, list[tuple[int, bool]]] = {}
        self._collect(self._ast.parse(source).body, False)

    def line_of(self, name: str) -> Optional[int]:
        """The line that binds a name last, if that is one that a step does not run."""
        line, is_main_only = self._bindings.get(name, [(0, False)])[-1]
        return line if is_main_only else None

    def missing(self, function: Any) -> Optional[tuple[str, int]]:
        """A name that a function of the file uses, or one that it calls there, and that no step has; with its line."""
        only = {name: found[0][0] for name, found in self._bindings.items() if all(main for _, main in found)}
        if not only:
            return None
        seen: set[int] = set()
        functions = [function]
        while functions:
            called = functions.pop()
            code = getattr(getattr(called, "__func__", called), "__code__", None)
            for name in self._globals_of(code) if code is not None and id(code) not in seen else ():
                if name in only:
                    return name, only[name]
                used = vars(sys.modules["__main__"]).get(name)
                if getattr(used, "__module__", "") == "__main__" and hasattr(used, "__code__"):
                    functions.append(used)
            seen.add(id(code))
        return None

    def _globals_of(self, code: CodeType) -> Iterator[str]:
        """The global names that code reads. Code that asks for its module's name may know what it does."""
        if "__name__" in code.co_names or "globals" in code.co_names:
            return
        for instruction in imports.standard_module("dis").get_instructions(code):
            if instruction.opname == "LOAD_GLOBAL":
                yield instruction.argval
        for constant in code.co_consts:
            if hasattr(constant, "co_code"):
                yield from self._globals_of(constant)

    def _collect(self, statements: list[Any], is_main_only: bool) -> None:
        for node in statements:
            kind = type(node).__name__
            for name in self._bound_by(node, kind):
                self._bindings.setdefault(name, []).append((node.lineno, is_main_only))
            if kind in ("FunctionDef", "AsyncFunctionDef", "ClassDef"):
                continue
            is_main = self._is_main(node.test) if kind == "If" else None
            for field in _BODIES:
                if is_main is None or (field == "body") == is_main:
                    within = is_main_only or is_main is not None
                    self._collect(getattr(node, field, []), within)
            for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                self._collect(part.body, is_main_only)

    def _bound_by(self, node: Any, kind: str) -> Iterator[str]:
        if kind in ("FunctionDef", "AsyncFunctionDef", "ClassDef"):
            yield node.name
        elif kind in ("Import", "ImportFrom"):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]
        else:
            targets = [*getattr(node, "targets", ()), getattr(node, "target", None)]
            targets += [item.optional_vars for item in getattr(node, "items", ())]
            for target in targets:
                for part in self._ast.walk(target) if target is not None else ():
                    if type(part).__name__ == "Name" and type(part.ctx).__name__ == "Store":
                        yield part.id

    def _is_main(self, test: Any) -> Optional[bool]:
        """Whether a test is true only in the script, or (False) only where the file is imported; None for any other test."""
        kind = type(test).__name__
        if kind == "UnaryOp" and type(test.op).__name__ == "Not":
            inner = self._is_main(test.operand)
            return None if inner is None else not inner
        if kind == "BoolOp" and type(test.op).__name__ == "And":
            return True if any(self._is_main(value) for value in test.values) else None
        if kind != "Compare" or len(test.ops) != 1 or type(test.ops[0]).__name__ not in ("Eq", "NotEq"):
            return None
        sides = [test.left, test.comparators[0]]
        names = [side for side in sides if getattr(side, "id", "") == "__name__"]
        texts = [side for side in sides if getattr(side, "value", "") == "__main__"]
        return type(test.ops[0]).__name__ == "Eq" if names and texts else None
