"""Where the steps of a plan find their parameters, as far as that is known before anything starts."""

from __future__ import annotations

from typing import Literal

from toolkit.plan.plan import Plan, PlannedScope, PlannedStep
from toolkit.runtime.shared.tree import ON_EXIT, TOLD

Source = Literal["run", "map", "other"]
"""The run's own parameters, the item of a map, or something that is known only while the pipeline runs."""


class Sources:
    """Finds what a step sees under a name."""

    def __init__(self, plan: Plan) -> None:
        self._scope_of: dict[str, PlannedScope] = {path: scope for scope in plan.scopes for path in scope.steps}
        self._rows = {row.path: row for row in plan.steps}
        self._positions = {path: position for scope in plan.scopes for position, path in enumerate(scope.steps)}
        self._scopes = {scope.path: scope for scope in plan.scopes}
        self._earlier: dict[str, range | frozenset[int]] = {}

    def source(self, name: str, path: str, first: bool = False) -> tuple[Source, PlannedStep | None]:
        """Where the step at ``path`` finds a parameter; with the map of whose items it is one.

        Args:
            first: whether only the first iteration of each loop around it is meant, which sees nothing of earlier ones.
        """
        inner = path
        while True:
            scope = self._scope_of[inner]
            earlier = self._earlier.get(inner)
            if earlier is None:
                earlier = self._earlier[inner] = scope.earlier(self._positions[inner])
            if any(index in earlier for index in scope.returns.get(name, ())):
                return "other", None
            if scope.owner is None:
                sees = {*self._scopes[""].returns, *TOLD} if scope.path == ON_EXIT else ()
                return ("other" if name in sees else "run"), None
            owner = self._rows[scope.owner]
            if owner.inside is not None and not scope.is_handler:
                if owner.inside.item == name and owner.type in ("map", "loop"):
                    return ("map", owner) if owner.type == "map" else ("other", None)
                if owner.type == "loop" and name in scope.returns and not first:
                    return "other", None
            inner = owner.path

    def first_source(self, name: str, path: str, loop: PlannedStep | None = None) -> tuple[Source, PlannedStep | None]:
        """Where the step finds a parameter when it runs for the first time.

        Args:
            loop: the step itself, where it is a composite that may be a loop: it looks for what it ends by inside, too.
        """
        if loop is not None and loop.type == "loop" and loop.inside is not None:
            if any(name in self._scopes[scope].returns for scope in loop.inside.scopes()):
                return "other", None
            if loop.inside.item == name:
                return "other", None
        return self.source(name, path, first=True)
