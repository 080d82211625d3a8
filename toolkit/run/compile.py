"""The Argo objects of a pipeline as text: what ``--env argo`` would submit, or, with ``schedules``, the CronWorkflow."""

from __future__ import annotations

from toolkit.backends.argo.compile import names
from toolkit.backends.argo.compile.manifest import to_text
from toolkit.backends.argo.compile.workflow import LONGEST_CRON, compile_run, compile_schedule
from toolkit.run.cluster_preparation import ClusterPreparation
from toolkit.run.request import Note, Request


def compile_manifest(request: Request, note: Note) -> str:
    """YAML of the ConfigMap and of the Workflow or CronWorkflow; needs no cluster, and brings no image anywhere.

    Raises:
        BadInput: configuration, pipeline or parameters are wrong. Infrastructure: the engine.
    """
    prepared = ClusterPreparation(request, note, deliver_images=False)
    config = request.project.config
    executor = config.executor.config
    context = {
        "context": request.context or executor.context or "",
        "namespace": request.namespace or executor.namespace or "",
    }
    if executor.schedules:
        name = names.object_name(executor.name or prepared.name, LONGEST_CRON)
        record = prepared.record("", {key: value for key, value in context.items() if value})
        # Each run of the schedule takes these from itself, when it begins.
        for key in ("run_id", "started", "driver"):
            del record[key]
        objects = compile_schedule(prepared.plan, config, prepared.submission(name, record))
    else:
        assert request.run_id is not None
        record = prepared.record(request.run_id, {key: value for key, value in context.items() if value})
        submission = prepared.submission(request.run_id, record)
        objects = compile_run(prepared.plan, config, submission)
    namespace = request.namespace or executor.namespace
    if namespace is not None:
        for one in (objects.config_map, objects.workflow):
            one["metadata"]["namespace"] = namespace
    return to_text(objects)
