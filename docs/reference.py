"""Makes the API reference of the SDK from its docstrings: ``python docs/reference.py FOLDER`` (``task docs``).

It ends with 1 and writes nothing where a public name has no docstring.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pdoc.doc
import pdoc.render

import toolkit


def sdk() -> pdoc.doc.Module:
    """The package as the reference shows it: each class with what it inherits, since its bases are not public."""
    # The package loads its names when they are asked for, and pdoc looks without asking.
    module = ModuleType(toolkit.__name__, toolkit.__doc__)
    module.__dict__.update({name: getattr(toolkit, name) for name in toolkit.__all__})
    module.__dict__.update(__all__=toolkit.__all__, __file__=toolkit.__file__, __path__=toolkit.__path__)
    shown = pdoc.doc.Module(module)
    for public in shown.classes:
        public.own_members = [member for member in public.members.values() if not _is_argument(member)]
        public.inherited_members = {}
        public.bases = [base for base in public.bases if base[0] == toolkit.__name__]
    return shown


def _is_argument(member: pdoc.doc.Doc[Any]) -> bool:
    """An attribute that ``__init__`` sets: it is the argument of its name, which the class explains."""
    return (
        isinstance(member, pdoc.doc.Variable)
        and member.default_value is inspect.Parameter.empty
        and not member.docstring
    )


def undocumented(module: pdoc.doc.Module) -> list[str]:
    """The public names without a docstring, those of classes too. A method may have its base's, a class may not."""
    shown: list[pdoc.doc.Doc[Any]] = [module, *module.own_members]
    for public in module.classes:
        shown += [member for member in public.own_members if not member.name.startswith("_")]
    return [
        one.fullname for one in shown if not (one.obj.__doc__ if isinstance(one, pdoc.doc.Class) else one.docstring)
    ]


def main(arguments: list[str]) -> int:
    """Writes FOLDER/index.html; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python docs/reference.py FOLDER", file=sys.stderr)
        return 2
    module = sdk()
    if missing := undocumented(module):
        print(f"without a docstring: {', '.join(missing)}", file=sys.stderr)
        return 1
    pdoc.render.configure(docformat="google", search=False, show_source=False)
    # An annotation that can't be resolved would be a hole in the page.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = pdoc.render.html_module(module, {module.fullname: module})
    index = Path(arguments[0]) / "index.html"
    index.parent.mkdir(parents=True, exist_ok=True)
    index.write_text(page, encoding="utf-8")
    print(index)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
