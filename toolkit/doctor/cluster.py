"""What a cluster lacks for a run."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.backends.argo.preflight import Finding
from toolkit.errors import Infrastructure
from toolkit.project import Project
from toolkit.run.preparation import prepare
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Note, Request


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
        reference: the pipeline whose needs are checked as well; None checks the configuration's alone.
        context, namespace: what the options of these names say.
        place: is filled with the context and the namespace of the cluster that was found.
    """
    from toolkit.backends.argo import preflight
    from toolkit.backends.argo.cluster import open_cluster
    from toolkit.run.submission import deliver_images

    cluster = open_cluster(project, context, namespace)
    place.update(context=cluster.context, namespace=cluster.namespace)
    plan, images = None, None
    if reference is not None:
        request = Request(project, "argo", reference, {}, context=context, namespace=namespace)
        try:
            preparation = prepare(request, note, parameters_given=False)
            plan = preparation.plan
            images = deliver_images(preparation, _drop, send=False, final=False)
        except Infrastructure as error:
            yield Finding(
                "error",
                f"the image can't be built here: {error}",
                "what follows is about the configuration alone",
            )
    yield from preflight.check(cluster, preflight.needs_of(plan, project.config, images))


def _drop(sentence: str) -> None:
    """Takes what the delivery reports about sending, because nothing is sent."""
