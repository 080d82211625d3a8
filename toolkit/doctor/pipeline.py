"""The plan of the pipeline that doctor was asked about."""

from __future__ import annotations

from toolkit.config.settings import EnvironmentName
from toolkit.plan.plan import Plan
from toolkit.plan.planner import plan
from toolkit.project import Project
from toolkit.run.environment import Environment, LocalEnvironment, ProcessEnvironment
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Note, Request


def plan_pipeline(
    project: Project, reference: PipelineReference, environment: EnvironmentName, note: Note
) -> tuple[Plan, Environment]:
    """The plan, and the environment that the pipeline was described in.

    Raises:
        BadInput: the pipeline is not one. Infrastructure: the engine.
    """
    request = Request(project, environment, reference, {})
    side: Environment = (
        ProcessEnvironment(request, note) if environment == "process" else LocalEnvironment(request, note)
    )
    return plan(side.describe(), project.config, reference.import_roots(project)), side
