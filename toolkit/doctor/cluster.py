"""What a cluster lacks for a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolkit.backends.argo.preflight import Finding
from toolkit.doctor.pipeline import plan_pipeline
from toolkit.errors import Infrastructure
from toolkit.plan.plan import Plan
from toolkit.project import Project
from toolkit.run.environment import Environment, LocalEnvironment
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Note


def check_cluster(
    project: Project,
    reference: PipelineReference | None,
    context: str | None,
    namespace: str | None,
    place: dict[str, str | None],
    note: Note,
) -> Iterator[Finding]:
    """What the cluster lacks.

    Args:
        reference: the pipeline whose needs count too. context, namespace: as options name them.
        place: is given context and namespace as they are.
    """
    from toolkit.backends.argo import preflight
    from toolkit.backends.argo.cluster import connect

    executor = project.config.executor.config
    cluster = connect(context or executor.context, namespace or executor.namespace)
    place.update(context=cluster.context, namespace=cluster.namespace)
    made, images = None, None
    if reference is not None:
        try:
            made, side = plan_pipeline(project, reference, "argo", note)
            images = _images(project, made, side, context)
        except Infrastructure as error:
            yield Finding(
                "error", f"the image can't be built here: {error}", "what follows is the configuration's own needs"
            )
    yield from preflight.check(cluster, preflight.needs_of(made, project.config, images))


def _images(project: Project, made: Plan, side: Environment, context: str | None) -> dict[str | None, Any]:
    """The images as a cluster would name them; none is sent anywhere."""
    from toolkit.backends.argo.compile.workflow import Image
    from toolkit.build.delivery.deliver import deliver

    assert isinstance(side, LocalEnvironment)
    side.check(made)
    found: dict[str | None, Any] = {}
    for own, built in side.images().items():
        # Its sentences are about what is sent.
        one = deliver(project, built, lambda _: None, push=False, load=False, context=context)
        found[own] = Image(one.reference, one.pull_policy_never)
    return found
