"""Tasks and plans that are made directly, without describing a pipeline or reading a configuration."""

from __future__ import annotations

from typing import Any

from toolkit.config.settings import (
    Build,
    CatalogStore,
    Config,
    Executor,
    ExecutorConfig,
    PersistentVolume,
    RunLogStore,
    Secrets,
)
from toolkit.model.pipeline import CatalogUse, Function, Pipeline, Return, Step, Takes, Task
from toolkit.plan.plan import Plan
from toolkit.plan.planner import plan


def task(name: str, *returns: str, takes: tuple[str, ...] = (), **more: Any) -> Task:
    return Task(
        name,
        "python",
        Function("functions", "f"),
        takes=Takes(takes, takes, False),
        returns=tuple(Return(declared) for declared in returns),
        line="p.py:3",
        **more,
    )


def puts(name: str, *keys: str, **more: Any) -> Task:
    return task(name, catalog=CatalogUse(put=keys), **more)


def gets(name: str, *keys: str, **more: Any) -> Task:
    return task(name, catalog=CatalogUse(get=keys), **more)


def config(**more: Any) -> Config:
    settings = ExecutorConfig(persistent_volumes=(PersistentVolume("v", "/mnt"),), **more)
    return Config(Executor("argo", settings), RunLogStore(), CatalogStore(), Secrets(), Build())


def planned(*steps: Step, **more: Any) -> Plan:
    return plan(Pipeline(steps), config(**more), (".",))
