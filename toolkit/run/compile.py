"""The Argo objects of a pipeline as text: what ``--env argo`` would submit, or, with ``schedules``, the CronWorkflow."""

from __future__ import annotations

from toolkit.backends.argo.compile import names
from toolkit.backends.argo.compile.manifest import to_text
from toolkit.backends.argo.compile.workflow import LONGEST_CRON, compile_run, compile_schedule
from toolkit.run.preparation import prepare
from toolkit.run.request import Note, Request
from toolkit.run.submission import cluster_record, deliver_images, submission

_OF_A_RUN = ("run_id", "started", "driver")
"""What of run.json each run of a schedule gets when it begins."""


def compile_manifest(request: Request, note: Note) -> str:
    """YAML of the ConfigMap and of the Workflow or CronWorkflow. It needs no cluster and sends no image.

    Raises:
        BadInput: configuration, pipeline or parameters are wrong. Infrastructure: the engine.
    """
    preparation = prepare(request, note)
    images = deliver_images(preparation, note, send=False)
    config = request.project.config
    executor = config.executor.config
    if executor.schedules and preparation.computed:
        note(
            f"each run of the schedule is given what the pipeline's file computed now, until it is compiled again: "
            f"{preparation.computed}"
        )
    context = {
        "context": request.context or executor.context,
        "namespace": request.namespace or executor.namespace,
    }
    run_id = "" if executor.schedules else request.run_id
    assert run_id is not None
    record = cluster_record(preparation, images, run_id, {key: value for key, value in context.items() if value})
    if executor.schedules:
        name = names.object_name(executor.name or preparation.name, LONGEST_CRON)
        shared = {key: value for key, value in record.items() if key not in _OF_A_RUN}
        objects = compile_schedule(preparation.plan, config, submission(preparation, images, name, shared))
    else:
        objects = compile_run(preparation.plan, config, submission(preparation, images, run_id, record))
    namespace = request.namespace or executor.namespace
    if namespace is not None:
        for manifest in (objects.config_map, objects.workflow):
            manifest["metadata"]["namespace"] = namespace
    return to_text(objects)
