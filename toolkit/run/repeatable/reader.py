"""Reads what the project's code does when a pipeline is described, in the order in which it runs, up to what may vary."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from toolkit.run.repeatable import known
from toolkit.run.repeatable.calls import call
from toolkit.run.repeatable.checks import is_environment
from toolkit.run.repeatable.expressions import read_expression
from toolkit.run.repeatable.kinds import (
    DATA,
    OPAQUE,
    OURS,
    Builtin,
    DeclaredTask,
    External,
    Kind,
    OwnClass,
    OwnFunction,
    OwnModule,
    Sdk,
    container,
    item_of,
    join,
)
from toolkit.run.repeatable.modules import ProjectModules
from toolkit.run.repeatable.scopes import CodeScope, Module, NameSource, collect, is_defined_once, taken

_MOST = 500_000
"""Expressions that are read at most. No project of hand-written code has as many that run at once."""


class Obstacle(Exception):
    """What keeps a description from being repeatable. The message is a clause with file and line."""


class CodeReader:
    """Reads the modules of a project.

    Args:
        root: the project's. modules: finds them.
    """

    def __init__(self, root: Path, modules: ProjectModules) -> None:
        self._root = root
        self._find = modules.find
        self._modules: dict[str, Module | None] = {}
        self.kinds: dict[tuple[CodeScope, ast.AST], Kind] = {}
        self._names: dict[tuple[CodeScope, str], Kind | None] = {}
        self.calls: dict[tuple[object, ...], Kind | None] = {}
        self.in_driver = False
        self._count = 0

    # --- modules ------------------------------------------------------------------------------------------------------

    def run_file(self, file: Path, package: str) -> Module:
        """Reads the pipeline's file as the script that it is.

        Args:
            package: what its relative imports start from; empty where it is no module of a package.
        """
        if package:
            self._import(package)
        module = self._load(file, "__main__", package)
        self.run(module.tree.body, module.scope)
        return module

    def read_function(self, dotted: str) -> None:
        """Reads what decides which function a dotted path names, and what it takes.

        Of a module whose one definition of it stands there plainly, nothing else decides that.
        """
        parts = dotted.split(".")
        for size in range(len(parts) - 1, 0, -1):
            file = self._find(".".join(parts[:size]))
            if file is not None and not file.is_dir():
                if len(parts) - size > 1 or not is_defined_once(file, parts[size]):
                    self._import(".".join(parts[:size]))
                return

    def _load(self, file: Path, name: str, package: str) -> Module:
        path = file.relative_to(self._root).as_posix()
        if file.is_dir():
            return Module(name, package, file, path, ast.Module([], []))
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError) as error:
            raise Obstacle(f"{path}:{getattr(error, 'lineno', None) or 1} can't be read here") from None
        return Module(name, package, file, path, tree)

    def _import(self, dotted: str) -> Module | None:
        if dotted in self._modules:
            return self._modules[dotted]
        outer, _, _ = dotted.rpartition(".")
        if outer:
            self._import(outer)
        file = self._find(dotted)
        if file is None:
            self._modules[dotted] = None
            return None
        is_package = file.is_dir() or file.name == "__init__.py"
        module = self._modules[dotted] = self._load(file, dotted, dotted if is_package else outer)
        self.run(module.tree.body, module.scope)
        return module

    def _imported(self, source: NameSource, scope: CodeScope) -> Kind:
        """The kind of what an import binds to a name."""
        node, alias = source.node, source.alias
        assert alias is not None
        if isinstance(node, ast.Import):
            bound = alias.name if alias.asname else alias.name.partition(".")[0]
            self._import(alias.name)
            return self._module_kind(bound)
        assert isinstance(node, ast.ImportFrom)
        return self.member(self._from(node, scope), alias.name, node, scope)

    def _from(self, node: ast.ImportFrom, scope: CodeScope) -> str:
        """The dotted name of the module that an import takes names from."""
        if not node.level:
            return node.module or ""
        package = scope.module.package.split(".") if scope.module.package else []
        if len(package) < node.level:
            self.stop(node, scope, "has a relative import that leads out of its package")
        return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])

    def _module_kind(self, dotted: str) -> Kind:
        module = self._import(dotted)
        if module is not None:
            return OwnModule(module)
        return Sdk("") if dotted in ("toolkit", "toolkit.sdk") else External(dotted)

    def member(self, dotted: str, name: str, node: ast.AST, scope: CodeScope) -> Kind:
        """The kind of a name in a module, which may be a module inside it."""
        if dotted.partition(".")[0] == "toolkit" and self._find("toolkit") is not None:
            self.stop(node, scope, "imports from toolkit, of which the project has a package of its own")
        module = self._import(dotted)
        if module is None:
            if dotted in ("toolkit", "toolkit.sdk"):
                return Sdk(name)
            return External(f"{dotted}.{name}")
        if name in module.scope.names or not self._find(f"{dotted}.{name}"):
            return self._global(module, name, node, scope)
        return self._module_kind(f"{dotted}.{name}")

    def _global(self, module: Module, name: str, node: ast.AST, scope: CodeScope) -> Kind:
        if name in module.scope.names:
            return self.name(name, module.scope)
        starred = self._star(name, module.scope)
        if starred is not None:
            return starred
        if name.startswith("__") and name != "__dict__":
            return DATA
        if "__getattr__" in module.scope.names:
            call(self, self.name("__getattr__", module.scope), [DATA], node, scope)
        return OPAQUE

    def _star(self, name: str, scope: CodeScope) -> Kind | None:
        """The kind of a name that a module may have by ``from … import *``; None where it has none of that name."""
        for star in reversed(scope.module.scope.stars):
            dotted = self._from(star, scope.module.scope)
            if dotted in ("toolkit", "toolkit.sdk"):
                if name in known.SDK_NAMES:
                    return Sdk(name)
                continue
            module = self._import(dotted)
            if module is None:
                return External(f"{dotted}.{name}")
            if name in module.scope.names or module.scope.stars:
                return self._global(module, name, star, scope)
        return None

    # --- statements -----------------------------------------------------------------------------------------------------

    def run(self, statements: Iterable[ast.stmt], scope: CodeScope) -> None:
        """Reads statements in the order in which they run."""
        for statement in statements:
            self._run_one(statement, scope)

    def _run_one(self, node: ast.stmt, scope: CodeScope) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self._definition(node, scope)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                self._imported(NameSource("import", node, alias), scope)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name != "*":
                    self._imported(NameSource("import", node, alias), scope)
                elif self._from(node, scope) not in ("toolkit", "toolkit.sdk"):
                    self._import(self._from(node, scope))
        elif isinstance(node, ast.If):
            self.kind(node.test, scope)
            self.run(taken(node, scope.module), scope)
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            value = self.kind(node.value, scope) if node.value is not None else DATA
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._store(target, value, scope)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            self._store(node.target, item_of(self.kind(node.iter, scope)), scope)
            self.run([*node.body, *node.orelse], scope)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                if self.kind(item.context_expr, scope) not in (DATA, OURS):
                    self.stop(item.context_expr, scope, f"enters {ast.unparse(item.context_expr)}")
            self.run(node.body, scope)
        elif isinstance(node, ast.Match):
            self.kind(node.subject, scope)
            for case in node.cases:
                if case.guard is not None:
                    self.kind(case.guard, scope)
                self.run(case.body, scope)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                self._store(target, DATA, scope)
        else:
            # Of loops, tries, returns and the like only the order of what is inside matters.
            for child in ast.iter_child_nodes(node):
                self._run_child(child, scope)

    def _run_child(self, child: ast.AST, scope: CodeScope) -> None:
        if isinstance(child, ast.stmt):
            self._run_one(child, scope)
        elif isinstance(child, ast.expr):
            self.kind(child, scope)
        elif isinstance(child, ast.ExceptHandler):
            if child.type is not None:
                self.kind(child.type, scope)
            self.run(child.body, scope)

    def _store(self, target: ast.expr, value: Kind, scope: CodeScope) -> None:
        """Reads what is assigned to, where that is more than a name."""
        if isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self._store(element, item_of(value), scope)
        elif isinstance(target, ast.Starred):
            self._store(target.value, value, scope)
        elif isinstance(target, (ast.Subscript, ast.Attribute)):
            if isinstance(target, ast.Subscript):
                self.kind(target.slice, scope)
                if is_environment(self, target, target.value, target.slice, scope):
                    return
            holder = self.kind(target.value, scope)
            if isinstance(holder, External) and isinstance(target, ast.Attribute):
                self.checked(External(f"{holder.dotted}.{target.attr}"), target, scope)
            if value not in (DATA, OURS) or isinstance(holder, (OwnModule, OwnClass)):
                self.stop(target, scope, f"assigns to {ast.unparse(target)}")

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, scope: CodeScope) -> Kind:
        """Reads a definition: what runs is its decorators and defaults, and of a class its body."""
        key = (scope, node)
        if key in self.kinds:
            return self.kinds[key]
        kind: Kind
        if isinstance(node, ast.ClassDef):
            kind = self._class(node, scope)
        else:
            for default in [*node.args.defaults, *node.args.kw_defaults]:
                if default is not None:
                    self.kind(default, scope)
            kind = OwnFunction(node, scope)
        for decorator in reversed(node.decorator_list):
            kind = self._decorated(decorator, kind, scope)
        self.kinds[key] = kind
        return kind

    def _class(self, node: ast.ClassDef, scope: CodeScope) -> Kind:
        is_plain = True
        for base in node.bases:
            self.kind(base, scope)
        for keyword in node.keywords:
            is_plain = is_plain and keyword.arg != "metaclass"
            self.kind(keyword.value, scope)
        body = CodeScope("class", scope.module, scope)
        collect(node.body, body)
        self.run(node.body, body)
        for hook in ("__init_subclass__", "__class_getitem__", "__prepare__", "__set_name__", "_generate_next_value_"):
            if hook in body.names:
                self.stop(node, scope, f"has a class with {hook}")
        return OwnClass(node, body, is_plain)

    def _decorated(self, decorator: ast.expr, inner: Kind, scope: CodeScope) -> Kind:
        """The kind of what a decorator makes of a function or a class. A decorator of an installed package is harmless."""
        if isinstance(decorator, ast.Call):
            made_by = self.kind(decorator.func, scope)
            if isinstance(made_by, External):
                for argument in [*decorator.args, *(keyword.value for keyword in decorator.keywords)]:
                    self.kind(argument, scope)
                return self._decorated_by(made_by.dotted, inner)
        by = self.kind(decorator, scope)
        if isinstance(by, External):
            return self._decorated_by(by.dotted.removesuffix("()"), inner)
        if isinstance(decorator, ast.Attribute) and isinstance(self.kind(decorator.value, scope), OwnFunction):
            return inner  # @name.setter
        if isinstance(by, Builtin):
            return inner if by.name in ("property", "staticmethod", "classmethod") else OPAQUE
        return call(self, by, [inner], decorator, scope)

    @staticmethod
    def _decorated_by(dotted: str, inner: Kind) -> Kind:
        if isinstance(inner, OwnFunction) and dotted in known.SAME_CODE:
            return inner
        if isinstance(inner, OwnClass) and dotted in known.RECORD_DECORATORS:
            return inner
        return External(f"decorated by {dotted}")

    # --- names ------------------------------------------------------------------------------------------------------------

    def name(self, name: str, scope: CodeScope) -> Kind:
        """The kind of what a name stands for in a scope."""
        home = scope.find(name)
        if home is None:
            if name in known.BUILTIN_DATA or (name.startswith("__") and name.endswith("__") and name != "__builtins__"):
                return DATA
            return self._star(name, scope) or Builtin(name)
        key = (home, name)
        if key in self._names:
            # While it is being found, it may be anything.
            return self._names[key] or OPAQUE
        self._names[key] = None
        # What a driver uses of its module was not made in the driver.
        before, self.in_driver = self.in_driver, self.in_driver and home.role != "module"
        kind = join([self._source(source, home) for source in home.names[name]])
        if kind == DATA:
            kind = container([DATA, *(self._source(source, home) for source in home.added.get(name, ()))])
        self.in_driver = before
        self._names[key] = kind
        return kind

    def _source(self, source: NameSource, scope: CodeScope) -> Kind:
        if source.how == "import":
            return self._imported(source, scope)
        if source.how == "definition":
            assert isinstance(source.node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            return self._definition(source.node, scope)
        if source.how == "unknown":
            return OPAQUE
        if source.how == "given":
            return source.kind or OPAQUE
        assert isinstance(source.node, ast.expr)
        kind = self.kind(source.node, scope)
        for _ in range(source.depth):
            kind = item_of(kind)
        return kind

    def kind(self, node: ast.expr, scope: CodeScope) -> Kind:
        """The kind of an expression's value, after everything that it calls was read."""
        key = (scope, node)
        if key not in self.kinds:
            self._count += 1
            if self._count > _MOST:
                self.stop(node, scope, "is where reading the project's code was given up")
            self.kinds[key] = self.checked(read_expression(self, node, scope), node, scope)
        return self.kinds[key]

    def checked(self, kind: Kind, node: ast.AST, scope: CodeScope) -> Kind:
        """The kind, unless it is of something that is not even to be named."""
        if isinstance(kind, External):
            if kind.dotted in known.ENVIRONMENT:
                self.stop(node, scope, f"reads {kind.dotted} other than by a name")
            if kind.dotted in known.FORBIDDEN or kind.dotted.endswith(".__dict__"):
                self.stop(node, scope, f"uses {kind.dotted}")
        return kind

    # --- ends -------------------------------------------------------------------------------------------------------------------

    def call_named(self, module: Module, name: str) -> None:
        """Reads the call of the function without arguments that makes the pipeline, where a name in a module is one."""
        if name.partition(".")[0] in module.scope.names:
            node = ast.parse(name, mode="eval").body
            kind = self.kind(node, module.scope)
            if kind == OPAQUE or isinstance(kind, (OwnFunction, DeclaredTask, External)):
                call(self, kind, [], node, module.scope)

    @staticmethod
    def stop(node: ast.AST, scope: CodeScope, what: str) -> NoReturn:
        """Ends the reading at what may vary.

        Raises:
            Obstacle: always.
        """
        raise Obstacle(f"{scope.module.path}:{getattr(node, 'lineno', 1)} {what}")
