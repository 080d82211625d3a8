"""A pipeline made ready for a cluster: built, described and planned on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from toolkit.backends.argo.compile.omitted_work import OmittedWork
from toolkit.backends.argo.compile.workflow import Image, Submission
from toolkit.build.delivery.deliver import deliver
from toolkit.build.image.builder import BuiltImage
from toolkit.plan.plan import Plan
from toolkit.plan.planner import plan
from toolkit.run.environment import LocalEnvironment
from toolkit.run.prepare import check_parameters, initial_controls, run_record
from toolkit.run.request import Note, Request
from toolkit.runtime.shared.records import encode


class ClusterPreparation:
    """A pipeline that is ready to be submitted or printed: planned, its images where the nodes find them.

    Args:
        deliver_images: whether images are pushed or loaded; else they are only named.
    """

    def __init__(self, request: Request, note: Note, deliver_images: bool = True) -> None:
        self.request = request
        self._note = note
        self._deliver = deliver_images
        side = LocalEnvironment(request, note)
        self.user = side.user
        pipeline = side.describe()
        self.name = pipeline.name or request.reference.file.stem
        self.plan: Plan = plan(pipeline, request.project.config, request.reference.import_roots(request.project))
        check_parameters(self.plan, request.parameters)
        side.check(self.plan)
        self._built: dict[str | None, BuiltImage] = side.images()
        self._images: dict[str | None, Image] = {}

    def images(self) -> dict[str | None, Image]:
        """The images as nodes name them; brings them there the first time."""
        if not self._images:
            for own, built in self._built.items():
                one = deliver(
                    self.request.project,
                    built,
                    self._note,
                    push=None if self._deliver else False,
                    load=None if self._deliver else False,
                    context=self.request.context or self.request.project.config.executor.config.context,
                )
                self._images[own] = Image(one.reference, one.pull_policy_never, one.loaded)
        return self._images

    def request_hash(self) -> str:
        """What makes a run this one: plan, parameters, images and tag. Who asks for the same again attaches to it."""
        known = {
            "plan": self.plan.to_json().decode("ascii"),
            "parameters": dict(self.request.parameters),
            "images": sorted(built.digest for built in self._built.values()),
            "tag": self.request.tag,
        }
        return hashlib.sha256(encode(known)).hexdigest()[:40]

    def record(self, run_id: str, context: Mapping[str, str]) -> dict[str, Any]:
        """run.json.

        Args:
            context: the kubeconfig's context and the namespace, as far as they are known.
        """
        built = self._built[None]
        delivered = self.images()[None].reference
        image = {"reference": delivered, "digest": built.digest, "identity": built.identity}
        if "@" in delivered:
            image["manifest"] = delivered.partition("@")[2]
        return run_record(
            self.request,
            image,
            self.plan,
            run_id,
            self.name,
            context=context,
            driver={"workflow": run_id},
        )

    def submission(self, run_id: str, record: dict[str, Any], omitted_work: OmittedWork | None = None) -> Submission:
        """What the objects are made of.

        Args:
            omitted_work: of a run that goes on, what is done of it.
        """
        return Submission(
            name=run_id,
            pipeline=self.name,
            tag=self.request.tag,
            images=self.images(),
            parameters=self.request.parameters,
            record=record,
            user=self.user,
            request=self.request_hash(),
            controls=initial_controls(self.plan, self.request.parameters)[1],
            omitted_work=omitted_work,
        )
