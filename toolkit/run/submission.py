"""What a cluster is given of a prepared pipeline: images that its nodes find, the run's record, and what identifies the run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.backends.argo.compile.omitted_work import OmittedWork
from toolkit.backends.argo.compile.workflow import Image, Submission
from toolkit.build.delivery.deliver import deliver
from toolkit.run.preparation import Preparation, initial_controls
from toolkit.run.records import run_record
from toolkit.run.request import Note
from toolkit.runtime.shared.records import encode

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import RunRecord

Images = Mapping[str | None, Image]
"""The images as nodes name them, by the setting that names them; None is the pipeline's."""


def deliver_images(preparation: Preparation, note: Note, send: bool = True) -> dict[str | None, Image]:
    """The images as nodes name them.

    Args:
        note: is given what is sent, one sentence each.
        send: whether they are pushed to a registry or loaded into nodes; else they are only named.

    Raises:
        BadInput: an image can't be sent. Infrastructure: engine, registry or node.
    """
    images: dict[str | None, Image] = {}
    for setting, built in preparation.images().items():
        delivered = deliver(
            preparation.request.project,
            built,
            note,
            push=None if send else False,
            load=None if send else False,
            context=preparation.request.context,
        )
        images[setting] = Image(delivered.reference, delivered.pull_policy_never, delivered.loaded)
    return images


def request_hash(preparation: Preparation) -> str:
    """Identifies what a run was asked for: plan, parameters, images and tag. The same request again attaches to its run."""
    request = preparation.request
    identity = {
        "plan": preparation.plan.to_json().decode("ascii"),
        "parameters": dict(request.parameters),
        **({"spellings": dict(request.spellings)} if request.spellings else {}),
        "images": sorted(built.digest for built in preparation.images().values()),
        "tag": request.tag,
    }
    return hashlib.sha256(encode(identity)).hexdigest()[:40]


def cluster_record(preparation: Preparation, images: Images, run_id: str, context: Mapping[str, str]) -> RunRecord:
    """run.json of a run on a cluster.

    Args:
        context: the kubeconfig's context and the namespace, as far as they are known.
    """
    reference = images[None].reference
    image = preparation.image_record()
    assert image is not None
    image["reference"] = reference
    if "@" in reference:
        image["manifest"] = reference.partition("@")[2]
    return run_record(preparation, run_id, image, context=context, driver={"workflow": run_id})


def submission(
    preparation: Preparation,
    images: Images,
    run_id: str,
    record: Mapping[str, object],
    omitted_work: OmittedWork | None = None,
) -> Submission:
    """What the objects of a run are made of.

    Args:
        record: run.json; of a schedule, without what each of its runs has of its own.
        omitted_work: what of a run that resumes is done already.
    """
    request = preparation.request
    return Submission(
        name=run_id,
        pipeline=preparation.name,
        tag=request.tag,
        images=images,
        parameters=request.parameters,
        spellings=request.spellings,
        record=record,
        user=preparation.user,
        request=request_hash(preparation),
        controls=initial_controls(preparation.plan, request.parameters, request.spellings)[1],
        omitted_work=omitted_work,
    )
