"""A pod that mounts the claims for seconds and answers requests about them (see ``runtime/server/service.py``).

Each request is an exec of its own. The first one is tried again and again from the pod's creation on, and does not wait until
the API reports that the pod runs: the node's report is up to a second late, and that second would be half of what
``toolkit show`` takes.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from toolkit.backends.argo.cluster import (
    CORE,
    ApiError,
    Cluster,
    Forbidden,
    KubernetesObject,
    NotFound,
    pause,
)
from toolkit.backends.argo.pods import newest_warning, wait_reason
from toolkit.backends.argo.security import container_security, pod_security
from toolkit.backends.argo.volume.pod_exec import NotRunning, PodExec, one_line
from toolkit.backends.argo.volume.reader import BrokenConnection, request_line
from toolkit.errors import Infrastructure
from toolkit.runtime.shared.protocol import PROTOCOL, RUNTIME_MAIN
from toolkit.spec.container import GROUP

READER_LABEL = "dev.toolkit/reader"
"""The label of every reader pod. A client removes those that have ended, which other clients left when they were killed."""
CONTAINER = "main"

_NO_NODE = "no node takes it"


class ReaderPod:
    """The pod, created when it is first needed (or by :meth:`start`) and deleted at the end of the ``with`` block.

    A client that is killed can't delete it. The container then ends ``idle_limit`` seconds after the last request, and the
    next client that creates a reader pod in this namespace deletes it.

    Args:
        image, pull_policy: an image with the runtime. claims: names of claims and where they are mounted, as in the steps.
        user, group: of the process, as of the steps. service_account: empty is the namespace's default; no token is mounted.
        image_pull_secrets: names. tolerations: as Kubernetes has them.
        start_limit: seconds from its creation until it must answer. silence_limit: seconds of an answer without a byte.
        idle_limit: seconds without a request until it ends. lifetime: seconds until the cluster ends it in any case.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        image: str,
        pull_policy: str,
        claims: Sequence[tuple[str, str]],
        user: int,
        group: int = GROUP,
        service_account: str = "",
        node_selector: Mapping[str, str] | None = None,
        tolerations: Sequence[KubernetesObject] = (),
        image_pull_secrets: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        start_limit: float = 60.0,
        silence_limit: float = 60.0,
        idle_limit: int = 120,
        lifetime: int = 6 * 3600,
    ) -> None:
        self._cluster = cluster
        self._image = image
        self._pull_policy = pull_policy
        self._claims = list(claims)
        self._user = user
        self._group = group
        self._service_account = service_account
        self._node_selector = dict(node_selector or {})
        self._tolerations = [dict(toleration) for toleration in tolerations]
        self._image_pull_secrets = list(image_pull_secrets)
        self._labels = dict(labels or {})
        self._start_limit = start_limit
        self._silence_limit = silence_limit
        self._idle_limit = idle_limit
        self._lifetime = lifetime
        self.name = ""
        self._created = 0.0
        self._answered = False
        self._handled: list[signal.Signals] = []

    def __enter__(self) -> ReaderPod:
        # Without a handler these signals would end the process, and the pod would be left.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, _interrupt)
                    self._handled.append(number)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._remove()
        finally:
            while self._handled:
                signal.signal(self._handled.pop(), signal.SIG_DFL)

    # --- the pod ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Creates the pod, unless there is one, and does not wait until it runs: the caller may have something to do meanwhile.

        Raises:
            Forbidden: the user may not. Infrastructure: the cluster refuses the pod. Unreachable.
        """
        if self.name:
            return
        # Named here and not by the server, so that it can be deleted even when the answer to its creation is lost.
        self.name = f"toolkit-reader-{os.urandom(5).hex()}"
        self._created = time.monotonic()
        self._answered = False
        try:
            self._cluster.create(CORE, "pods", self.manifest())
        except ApiError as error:
            self.name = ""
            raise self._refused(error) from None

    def manifest(self) -> KubernetesObject:
        """The pod, as the API is given it."""
        volumes = [
            {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, (claim, _) in enumerate(self._claims)
        ]
        mounts = [{"name": f"claim-{number}", "mountPath": path} for number, (_, path) in enumerate(self._claims)]
        spec: KubernetesObject = {
            "containers": [
                {
                    "name": CONTAINER,
                    "image": self._image,
                    "imagePullPolicy": self._pull_policy,
                    "command": ["python3", RUNTIME_MAIN, "--serve", str(PROTOCOL), str(self._idle_limit)],
                    "volumeMounts": mounts,
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
                    "securityContext": container_security(self._user, read_only_root=True),
                }
            ],
            "volumes": volumes,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": self._lifetime,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security(self._user, self._group),
        }
        if self._service_account:
            spec["serviceAccountName"] = self._service_account
        if self._node_selector:
            spec["nodeSelector"] = self._node_selector
        if self._tolerations:
            spec["tolerations"] = self._tolerations
        if self._image_pull_secrets:
            spec["imagePullSecrets"] = [{"name": name} for name in self._image_pull_secrets]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "labels": {**self._labels, READER_LABEL: self.name}},
            "spec": spec,
        }

    def _refused(self, error: ApiError) -> Infrastructure:
        namespace = self._cluster.namespace
        sentence = f"the pod that reads the volume can't be created in the namespace {namespace}: {error.message}"
        # A quota and a pod security standard refuse with the same status as a missing right does.
        if isinstance(error, Forbidden) and 'cannot create resource "pods"' in error.message:
            return missing_pod_rights(namespace, error.message)
        return Infrastructure(sentence)

    def _remove(self) -> None:
        """Deletes the pod, even when a second Ctrl-C comes meanwhile."""
        if not self.name:
            return
        thread = threading.Thread(target=self._delete, args=(self.name,))
        thread.start()
        interrupted = False
        while thread.is_alive():
            try:
                thread.join()
            except KeyboardInterrupt:
                # The request has a time limit of its own. A third Ctrl-C ends the wait for it.
                if interrupted:
                    raise
                interrupted = True
        self.name = ""
        if interrupted:
            raise KeyboardInterrupt

    def _delete(self, name: str) -> None:
        try:
            self._cluster.delete(CORE, "pods", name, grace=0)
        except Infrastructure:
            # The command has its answers by now, and the pod ends when it has had no request for a while.
            pass

    def _delete_ended(self) -> None:
        """Deletes reader pods that have ended, which clients left when they were killed."""
        fields = "status.phase!=Pending,status.phase!=Running,status.phase!=Unknown"
        try:
            for pod in self._cluster.list(CORE, "pods", labels=READER_LABEL, fields=fields)["items"]:
                self._cluster.delete(CORE, "pods", pod["metadata"]["name"], grace=0)
        except Infrastructure:
            # This command does not depend on it, and the user may not have the right to list pods.
            pass

    # --- requests ---------------------------------------------------------------------------------------------------

    def exec(self, request: Mapping[str, object], sink: Callable[[bytes], None]) -> None:
        """Sends one request and passes the answer to ``sink`` in pieces, as they come.

        Raises:
            BrokenConnection: the connection ended before the answer did. Forbidden: the user may not exec. Unreachable.
            Infrastructure: the pod can't start, was deleted, or the runtime in it failed; the message is one sentence.
        """
        line = request_line(request)
        may_start_again = self._answered
        while True:
            self.start()
            try:
                if self._answered:
                    self._exec(line, sink)
                else:
                    self._first_exec(line, sink)
                return
            except NotRunning as error:
                if not may_start_again:
                    raise self._ended(error) from None
                # It ended because there was no request for a while, or its node was drained: another one answers as well.
                may_start_again = False
                self._remove()

    def _first_exec(self, line: bytes, sink: Callable[[bytes], None]) -> None:
        """Tries until the container runs."""
        wait, checked, has_deleted = 0.05, time.monotonic(), False
        while True:
            try:
                self._exec(line, sink)
                return
            except NotRunning as error:
                refusal = str(error)
            if not has_deleted:
                # While the pod starts there is time for it.
                self._delete_ended()
                has_deleted = True
            now = time.monotonic()
            is_late = now - self._created > self._start_limit
            if is_late or now - checked > 0.5:
                checked = now
                self._check_start(is_late, refusal)
            pause(wait)
            # Longer once the pod is likely to wait for its image, which takes its time.
            wait = 0.1 if now - self._created < 5.0 else 0.5

    def _check_start(self, is_late: bool, refusal: str) -> None:
        """Ends the wait for a pod that will not start, or that has not started in time.

        Args:
            refusal: what the last exec was refused with.

        Raises:
            Infrastructure: with the reason.
        """
        try:
            pod = self._cluster.get(CORE, "pods", self.name)
        except NotFound:
            name, self.name = self.name, ""
            raise Infrastructure(f"the pod {name} that reads the volume was deleted before it started") from None
        reason, is_permanent = _why_not_running(pod)
        if not (is_permanent or is_late):
            return
        if not is_permanent and not reason.startswith(_NO_NODE):
            # An event says more than the state does: a volume that can't be mounted shows as ContainerCreating.
            reason = self._newest_warning(pod) or reason or refusal
        within = "" if is_permanent else f" within {self._start_limit:.0f} s"
        raise Infrastructure(
            f"the pod that reads the volume did not start{within} in the namespace {self._cluster.namespace}: {reason}"
        )

    def _newest_warning(self, pod: KubernetesObject) -> str:
        about = f"involvedObject.uid={pod['metadata']['uid']},type=Warning"
        try:
            events = self._cluster.list(CORE, "events", fields=about)["items"]
        except Infrastructure:
            return ""
        return one_line(newest_warning(events).sentence)

    def _exec(self, line: bytes, sink: Callable[[bytes], None]) -> None:
        """One exec.

        Raises:
            NotRunning: there is no running container. BrokenConnection, Forbidden, Unreachable, Infrastructure.
        """
        has_begun = False

        def receive(data: bytes) -> None:
            nonlocal has_begun
            # The pod did run: when it ends now, another one can be created.
            has_begun = self._answered = True
            sink(data)

        command = ("python3", RUNTIME_MAIN, "--store", str(PROTOCOL))
        try:
            PodExec(self._cluster, self.name, CONTAINER, command, self._silence_limit).run(line, receive)
        except NotRunning as error:
            if has_begun:
                raise self._ended(error) from None
            raise
        self._answered = True

    def _ended(self, error: NotRunning) -> BrokenConnection:
        return BrokenConnection(f"the pod {self.name} that reads the volume has ended: {error}")


def missing_pod_rights(namespace: str, refusal: str = "the user may not create pods there") -> Forbidden:
    """The error for a user without the rights to make the pod.

    Args:
        refusal: what the API server said.
    """
    return Forbidden(
        f"the pod that reads the volume can't be created in the namespace {namespace}: {refusal} "
        "(it takes the rights create, get and delete on pods)",
        403,
        "Forbidden",
    )


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _why_not_running(pod: KubernetesObject) -> tuple[str, bool]:
    """Why a pod does not run, and whether that is permanent."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        if ended := (container.get("state") or {}).get("terminated"):
            message = one_line(str(ended.get("message") or "")).rpartition("toolkit runtime: ")[2]
            return message or f"{ended.get('reason') or 'it ended'} (exit code {ended.get('exitCode')})", True
    if status.get("phase") in ("Failed", "Succeeded"):
        return one_line(f"{status.get('reason') or 'it ended'} {status.get('message') or ''}"), True
    reason = wait_reason(pod)
    sentence = one_line(reason.sentence)
    return sentence if reason.scheduled else f"{_NO_NODE}: {sentence}", reason.permanent_for_reader
