"""What a cluster is given of a prepared pipeline: images that its nodes find, the run's record, and what identifies the run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.backends.argo.compile.omitted_work import OmittedWork
from toolkit.backends.argo.compile.workflow import Image, Submission
from toolkit.build.delivery.deliver import deliver
from toolkit.build.image.build_record import BuiltImage
from toolkit.run.preparation import Preparation, initial_controls
from toolkit.run.records import run_record
from toolkit.run.request import Note
from toolkit.runtime.shared.records import encode

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import ImageRecord, RunRecord

Images = Mapping[str | None, Image]
"""The images as nodes name them, by the setting that names them; None is the pipeline's."""


def deliver_images(
    preparation: Preparation, note: Note, send: bool = True, final: bool = True
) -> dict[str | None, Image]:
    """The images as nodes name them.

    Args:
        note: is given what is sent, one sentence each.
        send: whether they are pushed to a registry or loaded into nodes; else they are only named.
        final: whether pods will be made by these names, so that an image which a registry should have must be there.

    Raises:
        BadInput: an image can't be sent, or is not where it should be. Infrastructure: engine, registry or node.
    """
    built_images = preparation.images()
    images: dict[BuiltImage, Image] = {}
    # Several settings may name one image.
    for built in dict.fromkeys(built_images.values()):
        delivered = deliver(
            preparation.request.project,
            built,
            note,
            push=None if send else False,
            load=None if send else False,
            context=preparation.request.context,
            final=final,
        )
        images[built] = Image(
            delivered.name_in_pods,
            delivered.pull_policy_never,
            delivered.loaded,
            built.expectation,
            built.platform,
            has_other_platforms=built.existing and not delivered.pull_policy_never,
        )
    return {setting: images[built] for setting, built in built_images.items()}


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
    image = preparation.image_record()
    assert image is not None
    record = run_record(preparation, run_id, image, context=context, driver={"workflow": run_id})
    _add_name(image, images[None].reference)
    for setting, step_image in record["images"].items():
        _add_name(step_image, images[setting].reference)
    return record


def _add_name(image: ImageRecord, name: str) -> None:
    """Adds to an image's record what the pods name it by."""
    image.pop("manifest", None)  # the engine's, which is not the registry's
    if "@" in name:
        image["reference"], image["manifest"] = name, name.partition("@")[2]
    elif name != image["reference"]:
        image["name"] = name


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
        rewritten=preparation.rewritten,
        record=record,
        user=preparation.user,
        request=request_hash(preparation),
        controls=initial_controls(preparation.plan, request.parameters, request.spellings)[1],
        omitted_work=omitted_work,
    )
