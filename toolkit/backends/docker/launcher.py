"""The ``local`` environment: each attempt is a container of the Docker engine."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends.docker.refusals import explain_refusal, refusal_text, stopped_answering
from toolkit.backends.docker.rendering import docker_options
from toolkit.backends.launcher import OnEnd, Verdict, gate_line
from toolkit.engine import EngineObject
from toolkit.errors import Infrastructure, ToolkitError
from toolkit.plan.plan import PlannedStep
from toolkit.runtime.shared.causes import REMOVED, STOPPED
from toolkit.runtime.shared.protocol import GATE_VARIABLE
from toolkit.spec.container import ContainerSpec

if TYPE_CHECKING:
    import docker

LABEL = "dev.toolkit."
_SILENCE = 30.0
"""Seconds of waiting for a container's end after which the engine is pinged."""
_TAIL = 20
"""Lines of a container's standard error that a verdict holds."""
_STARTS = 2
"""Containers that are started at once: more of them only slow down the one whose turn is next."""
_SIGNALLED = 128
"""A greater exit code is this and the number of the signal that ended a process."""
_AFTER_DEATH = 0.2
"""Seconds after a container's end by a signal in which the engine may still report that it has sent one."""


class DockerLauncher:
    """Starts attempts as containers.

    Args:
        client: of the engine. spec_of: gives the container of an attempt.
        volumes: host folder by volume name. run_folder: the host folder of the plan, mounted read-only in each container.
        references: how sentences name the images of the specs, which are ids.
        labels: of every container. ahead: how many containers may be started before their turn.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        spec_of: Callable[[PlannedStep, int], ContainerSpec],
        volumes: Mapping[str, str],
        run_folder: Path,
        references: Mapping[str, str],
        labels: Mapping[str, str],
        ahead: int = 2,
    ) -> None:
        self.ahead = ahead
        self._client = client
        self._spec_of = spec_of
        self._volumes = volumes
        self._run_folder = run_folder
        self._references = references
        self._labels = labels
        self._begun = threading.Event()
        self._starts = concurrent.futures.ThreadPoolExecutor(max_workers=_STARTS, thread_name_prefix="start")
        self._removals = concurrent.futures.ThreadPoolExecutor(max_workers=2, thread_name_prefix="remove")
        self._jobs: list[ContainerJob] = []

    def prepare(self, step: PlannedStep, attempt: int, ended: OnEnd) -> ContainerJob:
        spec = self._spec_of(step, attempt)
        labels = {**self._labels, LABEL + "step": step.path, LABEL + "attempt": str(attempt)}
        name = f"toolkit-{labels[LABEL + 'run']}-{labels[LABEL + 'driver-pid']}-{_short_hash(step.path)}-{attempt}"
        options = docker_options(spec, name, self._volumes, str(self._run_folder), labels)
        options["environment"][GATE_VARIABLE] = "stdin"
        job = ContainerJob(
            self._client,
            step.path,
            attempt,
            name,
            options,
            self._references.get(spec.image, spec.image),
            self._begun,
            self._starts,
            self._removals,
            ended,
        )
        # A long run would keep all of its jobs in memory.
        self._jobs = [job for job in self._jobs if not job.is_over()]
        self._jobs.append(job)
        return job

    def held(self) -> float:
        return 0.0

    def close(self) -> None:
        for job in self._jobs:
            job.join()
        self._starts.shutdown(wait=True)
        self._removals.shutdown(wait=True)


def _seconds(time: str) -> float:
    """A time of the engine, like ``2026-01-02T03:04:05.678901234Z``, in seconds since the epoch."""
    whole, _, rest = time.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{rest or 0}")


def _short_hash(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:10]


class ContainerJob:
    """One container: started before its turn, released in its turn, removed after its end.

    Args:
        options: of its create. reference: how sentences name its image.
        begun: is set once a step of the run has begun.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        path: str,
        attempt: int,
        name: str,
        options: EngineObject,
        reference: str,
        begun: threading.Event,
        starts: concurrent.futures.Executor,
        removals: concurrent.futures.Executor,
        ended: OnEnd,
    ) -> None:
        self.path = path
        self.attempt = attempt
        self._api = client.api
        self._name = name
        self._image = reference
        self._begun = begun
        self._ended = ended
        self._removals = removals
        self._id = ""
        self._gate: socket.socket | None = None
        self._discarded = False
        self._stopped = False
        self._waiter: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stop_timeout: int = options["stop_timeout"]
        self._started = starts.submit(self._start, options)

    def name(self) -> str:
        return self._name

    # --- start ------------------------------------------------------------------------------------------------------

    def _start(self, options: EngineObject) -> None:
        import docker

        try:
            created = self._api.create_container(**options)
            self._id = created["Id"]
            # Attached before the start: no line sent later is lost, and the engine closes the stream when this process dies.
            self._stream = self._api.attach_socket(self._id, params={"stdin": 1, "stream": 1})
            self._gate = getattr(self._stream, "_sock", self._stream)
            self._api.start(self._id)
        except docker.errors.APIError as error:
            self._remove()
            raise explain_refusal(error, self._image, self._begun.is_set()) from None
        except Exception as error:
            raise stopped_answering(error) from None

    def release(self, secrets: Mapping[str, str]) -> None:
        self._waiter = threading.Thread(
            target=self._run, args=(gate_line(secrets),), name=f"wait-{self._name}", daemon=True
        )
        self._waiter.start()

    def is_over(self) -> bool:
        """Whether the attempt was released and has ended."""
        return self._waiter is not None and not self._waiter.is_alive()

    def join(self) -> None:
        """Waits until a released attempt has ended and its removal is queued; a killed one takes a moment."""
        if self._waiter is not None:
            self._waiter.join(_SILENCE * 2)

    def _run(self, line: bytes) -> None:
        try:
            self._started.result()
            self._begun.set()
            assert self._gate is not None
            try:
                self._gate.sendall(line)
            except OSError:
                # The container has ended already; the wait gives its verdict.
                pass
            verdict = self._wait()
        except ToolkitError as error:
            self._ended(self, None, error)
            return
        except Exception as error:
            self._ended(self, None, stopped_answering(error))
            return
        # The verdict is known: whoever waits for it does not wait for the removal.
        self._removals.submit(self._remove)
        self._ended(self, verdict, None)

    # --- end --------------------------------------------------------------------------------------------------------

    def _wait(self) -> Verdict:
        import docker
        import requests

        while True:
            try:
                code = int(self._api.wait(self._id, timeout=_SILENCE)["StatusCode"])
                break
            except requests.exceptions.RequestException as error:
                self._check_engine(error)
            except docker.errors.NotFound:
                return self._removed(137)
            except docker.errors.APIError as error:
                raise Infrastructure(f"the engine failed while a step ran: {refusal_text(error)}") from None
        try:
            container = self._api.inspect_container(self._id)
            state = container["State"]
            code, out_of_memory = int(state["ExitCode"]), bool(state["OOMKilled"])
            if code and not self._stopped and self._was_stopped_by_another(state):
                return Verdict(code, out_of_memory, STOPPED.reason, self._id, container["Image"], fault=STOPPED.fault)
            message = self._tail() if code else ""
            return Verdict(code, out_of_memory, message, self._id, container["Image"])
        except docker.errors.NotFound:
            return self._removed(code)
        except Exception as error:
            raise stopped_answering(error) from None

    def _removed(self, code: int) -> Verdict:
        """The verdict on a container that another program has removed; ``code`` is its exit code as far as it is known."""
        return Verdict(code, message=REMOVED.reason, container=self._id, fault=bool(code) and REMOVED.fault)

    def _was_stopped_by_another(self, state: EngineObject) -> bool:
        """Whether another program had the engine stop or kill the container, which this client had not.

        The exit code does not tell: a step that ends its own runtime may end with the same one. The engine's events do.
        """
        try:
            until = _seconds(state["FinishedAt"])
            if state["ExitCode"] > _SIGNALLED:
                until += _AFTER_DEATH
            query = {
                "since": f"{_seconds(state['StartedAt']):.9f}",
                "until": f"{until:.9f}",
                "filters": json.dumps({"container": [self._id], "event": ["kill", "stop"]}),
            }
            # The library's own call would wait for an engine that hangs for ever.
            address = f"{self._api.base_url}/v{self._api.api_version}/events"
            answer = self._api.get(address, params=query, timeout=_SILENCE)
            return answer.status_code == 200 and bool(answer.content.strip())
        except Exception:
            # Of an engine that keeps no events the exit code is all there is. One that is gone is noticed elsewhere.
            return False

    def _check_engine(self, error: Exception) -> None:
        """Pings the engine after ``error``, which may be only that the container runs on.

        Raises:
            Infrastructure: it does not answer.
        """
        try:
            self._api.ping()
        except Exception:
            raise stopped_answering(error) from None

    def _tail(self) -> str:
        """The end of the container's standard error: all there is of a runtime that could not write its record."""
        try:
            stderr: bytes = self._api.logs(self._id, stdout=False, stderr=True, tail=_TAIL)
        except Exception:
            return ""
        return stderr.decode("utf-8", "replace").strip()

    def stop(self, kill: bool) -> None:
        threading.Thread(target=self._stop, args=(kill,), daemon=True).start()

    def _stop(self, kill: bool) -> None:
        self._stopped = True
        try:
            self._started.result()
            if kill:
                self._api.kill(self._id)
            else:
                self._api.stop(self._id, timeout=self._stop_timeout)
        except Exception:
            # The container has ended already, or the engine is gone: the wait detects which.
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
            self._stream.close()
        try:
            self._api.remove_container(self._id, force=True, v=True)
        except docker.errors.APIError:
            pass
        except Exception:
            # The engine is gone: the next run on it removes the containers that carry our labels.
            pass
