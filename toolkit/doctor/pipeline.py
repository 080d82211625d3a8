"""The plan of the pipeline that doctor was asked about."""

from __future__ import annotations

from toolkit.config.settings import Environment
from toolkit.plan.plan import Plan
from toolkit.plan.planner import plan
from toolkit.project import Project
from toolkit.run.environment import Local, Process, Side
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Note, Request


def _planned(project: Project, reference: PipelineReference, environment: Environment, note: Note) -> tuple[Plan, Side]:
    """The plan, and the environment that the pipeline was described in.

    Raises:
        BadInput: the pipeline is not one. Infrastructure: the engine.
    """
    request = Request(project, environment, reference, {})
    side: Side = Process(request, note) if environment == "process" else Local(request, note)
    return plan(side.describe(), project.config, reference.import_roots(project)), side
