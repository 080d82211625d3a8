"""The ``local`` environment: each attempt is a container of the Docker engine."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.backends.docker.rendering import docker_options
from toolkit.backends.launcher import OnEnd, Verdict
from toolkit.errors import BadInput, Infrastructure, ToolkitError
from toolkit.plan.plan import PlannedStep
from toolkit.runtime.shared.protocol import GATE_VARIABLE
from toolkit.spec.container import ContainerSpec

if TYPE_CHECKING:
    import docker

LABEL = "dev.toolkit."
_ANSWER = 30.0
"""Seconds of silence after which the engine is asked whether it is still there."""
_LAST_WORDS = 20
_STARTS = 2
"""Containers that are being started at once: more only slow down the one whose turn is next."""


class DockerLauncher:
    """Starts attempts as containers.

    Args:
        client: of the engine. spec_of: the container of a step's attempt.
        volumes: host folder by volume name. run_folder: the host folder of the plan, bound read-only in each container.
        labels: of every container.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        spec_of: Callable[[PlannedStep, int], ContainerSpec],
        volumes: Mapping[str, str],
        run_folder: Path,
        labels: Mapping[str, str],
        ahead: int = 2,
    ) -> None:
        self.ahead = ahead
        self._client = client
        self._spec_of = spec_of
        self._volumes = volumes
        self._run_folder = run_folder
        self._labels = labels
        self._starts = concurrent.futures.ThreadPoolExecutor(max_workers=_STARTS, thread_name_prefix="start")
        self._removals = concurrent.futures.ThreadPoolExecutor(max_workers=2, thread_name_prefix="remove")
        self._jobs: list[ContainerJob] = []

    def prepare(self, step: PlannedStep, attempt: int, ended: OnEnd) -> ContainerJob:
        spec = self._spec_of(step, attempt)
        labels = {**self._labels, LABEL + "step": step.path, LABEL + "attempt": str(attempt)}
        name = f"toolkit-{labels[LABEL + 'run']}-{labels[LABEL + 'driver-pid']}-{_short(step.path)}-{attempt}"
        options = docker_options(spec, name, self._volumes, str(self._run_folder), labels)
        options["environment"][GATE_VARIABLE] = "stdin"
        job = ContainerJob(self._client, step.path, attempt, name, options, self._starts, self._removals, ended)
        # Of a long run only those are kept that have something left to do.
        self._jobs = [one for one in self._jobs if not one.is_over()]
        self._jobs.append(job)
        return job

    def close(self) -> None:
        for job in self._jobs:
            job.join()
        self._starts.shutdown(wait=True)
        self._removals.shutdown(wait=True)


def _short(path: str) -> str:
    import hashlib

    return hashlib.sha256(path.encode()).hexdigest()[:10]


class ContainerJob:
    """One container, from its start before its turn to its removal."""

    def __init__(
        self,
        client: docker.DockerClient,
        path: str,
        attempt: int,
        name: str,
        options: dict[str, Any],
        starts: concurrent.futures.Executor,
        removals: concurrent.futures.Executor,
        ended: OnEnd,
    ) -> None:
        self.path = path
        self.attempt = attempt
        self._api = client.api
        self._name = name
        self._image: str = options["image"]
        self._ended = ended
        self._removals = removals
        self._id = ""
        self._gate: socket.socket | None = None
        self._discarded = False
        self._waiter: threading.Thread | None = None
        self._lock = threading.Lock()
        self._timeout: int = options["stop_timeout"]
        self._started = starts.submit(self._start, options)

    def name(self) -> str:
        return self._name

    # --- start ------------------------------------------------------------------------------------------------------

    def _start(self, options: dict[str, Any]) -> None:
        import docker

        try:
            created = self._api.create_container(**options)
            self._id = created["Id"]
            # Attached before the start: a line sent later can't be lost, and the engine closes it when we die.
            stream = self._api.attach_socket(self._id, params={"stdin": 1, "stream": 1})
            self._gate = getattr(stream, "_sock", stream)
            self._keep = stream
            self._api.start(self._id)
        except docker.errors.APIError as error:
            self._remove()
            raise _explain_refusal(error, self._image) from None
        except Exception as error:
            raise _unreachable(error) from None

    def release(self, secrets: Mapping[str, str]) -> None:
        line = json.dumps({"secrets": dict(secrets)}).encode("ascii") + b"\n"
        self._waiter = threading.Thread(target=self._go, args=(line,), name=f"wait-{self._name}", daemon=True)
        self._waiter.start()

    def is_over(self) -> bool:
        """Whether nothing of it is left to wait for."""
        return self._waiter is not None and not self._waiter.is_alive()

    def join(self) -> None:
        """Waits until a released attempt has ended and its removal is on its way; a killed one takes a moment."""
        if self._waiter is not None:
            self._waiter.join(_ANSWER * 2)

    def _go(self, line: bytes) -> None:
        try:
            self._started.result()
            assert self._gate is not None
            try:
                self._gate.sendall(line)
            except OSError:
                # The container is gone already; the wait says how it ended.
                pass
            verdict = self._wait()
        except ToolkitError as error:
            self._ended(self, None, error)
            return
        except Exception as error:
            self._ended(self, None, _unreachable(error))
            return
        # The outcome is in hand; who waits for it does not wait for the removal.
        self._removals.submit(self._remove)
        self._ended(self, verdict, None)

    # --- end --------------------------------------------------------------------------------------------------------

    def _wait(self) -> Verdict:
        import docker
        import requests

        while True:
            try:
                self._api.wait(self._id, timeout=_ANSWER)
                break
            except requests.exceptions.RequestException as error:
                self._still_there(error)
            except docker.errors.NotFound:
                return Verdict(137, message="the container was removed by somebody else", container=self._id)
            except docker.errors.APIError as error:
                raise Infrastructure(f"the engine failed while a step ran: {error.explanation or error}") from None
        try:
            state = self._api.inspect_container(self._id)
            code, out_of_memory = int(state["State"]["ExitCode"]), bool(state["State"]["OOMKilled"])
            message = self._last_words() if code else ""
            return Verdict(code, out_of_memory, message, self._id, state["Image"])
        except docker.errors.NotFound:
            return Verdict(137, message="the container was removed by somebody else", container=self._id)
        except Exception as error:
            raise _unreachable(error) from None

    def _still_there(self, error: Exception) -> None:
        """A silent engine is asked whether it lives.

        Raises:
            Infrastructure: it does not answer.
        """
        try:
            self._api.ping()
        except Exception:
            raise _unreachable(error) from None

    def _last_words(self) -> str:
        """What the container's own stream ended with: all there is of a runtime that could not write its record."""
        try:
            said: bytes = self._api.logs(self._id, stdout=False, stderr=True, tail=_LAST_WORDS)
        except Exception:
            return ""
        return said.decode("utf-8", "replace").strip()

    def stop(self, kill: bool) -> None:
        threading.Thread(target=self._stop, args=(kill,), daemon=True).start()

    def _stop(self, kill: bool) -> None:
        try:
            self._started.result()
            if kill:
                self._api.kill(self._id)
            else:
                self._api.stop(self._id, timeout=self._timeout)
        except Exception:
            # It has ended already, or the engine is gone: the wait finds out which.
            pass

    def discard(self) -> None:
        self._removals.submit(self._discard)

    def _discard(self) -> None:
        try:
            self._started.result()
        except BaseException:
            pass
        self._remove()

    def _remove(self) -> None:
        import docker

        with self._lock:
            if not self._id or self._discarded:
                return
            self._discarded = True
        if self._gate is not None:
            self._keep.close()
        try:
            self._api.remove_container(self._id, force=True, v=True)
        except docker.errors.APIError:
            pass
        except Exception:
            # The engine is gone; the next run on it removes what carries our labels.
            pass


def _explain_refusal(error: Any, image: str) -> Exception:
    """An engine's refusal to create or start a container, as what it means to the user."""
    text = str(error.explanation or error)
    if error.status_code == 404 and "No such image" in text:
        return BadInput(f"the image {image} does not exist in the engine any more: run `toolkit build`")
    if "executable file not found" in text or ("no such file or directory" in text and "python3" in text):
        return BadInput(f"the image {image} has no python3 on its PATH: steps need Python 3.9 or later in it")
    if "bind source path does not exist" in text or "bind mount source path does not exist" in text:
        return Infrastructure("the engine does not see this machine's folders: volumes need an engine on this machine")
    if "could not select device driver" in text:
        return Infrastructure(
            "the engine has no GPU support: install the NVIDIA container toolkit, or drop the gpu limit"
        )
    return Infrastructure(f"the engine can't start a container of {image}: {text.strip()}")


def _unreachable(error: Exception) -> Infrastructure:
    return Infrastructure(
        f"the Docker engine stopped answering ({type(error).__name__}): what was running there may still be; "
        "`docker ps -a --filter label=dev.toolkit.run` lists it once the engine is back, and the next run removes it"
    )
