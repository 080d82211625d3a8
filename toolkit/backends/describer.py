"""Asks the runtime to describe a pipeline: in a container of its own image, or in a plain process."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import BadInput, Infrastructure, ToolkitError
from toolkit.runtime.shared.protocol import FAULT, PROTOCOL, RUNTIME_MAIN, WORKSPACE

if TYPE_CHECKING:
    import docker

TIME_LIMIT = 120.0
"""Seconds that the user's file may take; imports of large libraries are most of it."""
NOTE = "while it was described (which is done without secrets, network and volumes)"

DescribeAnswer = dict[str, Any]
Describer = Callable[[dict[str, Any]], DescribeAnswer]
"""Sends a request to the runtime's describe and returns its answer."""


def image_describer(
    connect: Callable[[], docker.DockerClient],
    image: str,
    environment: dict[str, str],
    user: str,
    labels: dict[str, str],
) -> Describer:
    """Asks in a container of the image: no network, no secrets, no volume, a time limit."""

    def ask(request: dict[str, Any]) -> DescribeAnswer:
        client = connect()
        api = client.api
        container = api.create_container(
            image=image,
            entrypoint=["python3", RUNTIME_MAIN, "--describe", str(PROTOCOL)],
            environment={"PYTHONHASHSEED": "0", **environment},
            user=user,
            working_dir=WORKSPACE,
            stdin_open=True,
            labels=labels,
            use_config_proxy=False,
            host_config={
                "Init": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "NetworkMode": "none",
                "LogConfig": {"Type": "json-file", "Config": {}},
            },
        )["Id"]
        try:
            return _ask_container(api, container, request, image)
        finally:
            api.remove_container(container, force=True, v=True)

    def guarded(request: dict[str, Any]) -> DescribeAnswer:
        import docker

        try:
            return ask(request)
        except ToolkitError:
            raise
        except docker.errors.APIError as error:
            text = str(error.explanation or error)
            if "executable file not found" in text:
                message = f"the image {image} has no python3 on its PATH: steps need Python 3.9 or later in it"
                raise BadInput(message) from None
            raise Infrastructure(f"the pipeline can't be described in {image}: {text}") from None
        except OSError as error:
            raise Infrastructure(f"the Docker engine stopped answering: {error}") from None

    return guarded


def _ask_container(api: Any, container: str, request: dict[str, Any], image: str) -> DescribeAnswer:
    import requests

    stream = api.attach_socket(container, params={"stdin": 1, "stream": 1})
    api.start(container)
    getattr(stream, "_sock", stream).sendall(json.dumps(request).encode() + b"\n")
    try:
        code = api.wait(container, timeout=TIME_LIMIT)["StatusCode"]
    except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError):
        raise BadInput(f"the pipeline's file did not end within {TIME_LIMIT:g} s while it was described") from None
    finally:
        stream.close()
    said = api.logs(container, stdout=False, stderr=True, tail=40).decode("utf-8", "replace").strip()
    return _parse_answer(code, api.logs(container, stdout=True, stderr=False), said, image)


def _parse_answer(code: int, output: bytes, said: str, image: str) -> DescribeAnswer:
    if code == FAULT or (code != 0 and "can't open file" in said):
        raise BadInput(f"the runtime in the image {image} is another version's: build it again ({said[-300:]})")
    try:
        answer: DescribeAnswer = json.loads(output)
    except ValueError:
        ending = f": {said}" if said else ""
        raise BadInput(f"the pipeline's file ended the interpreter (exit code {code}) {NOTE}{ending}") from None
    return answer


def process_describer(python: str, main: Path, environment: dict[str, str]) -> Describer:
    """Asks in a plain process of the project's own interpreter."""

    def ask(request: dict[str, Any]) -> DescribeAnswer:
        process = subprocess.Popen(
            [python, str(main), "--describe", str(PROTOCOL)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        began = time.monotonic()
        try:
            output, said = process.communicate(json.dumps(request).encode() + b"\n", timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            spent = time.monotonic() - began
            raise BadInput(f"the pipeline's file did not end within {spent:.0f} s while it was described") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        return _parse_answer(process.returncode, output, said.decode("utf-8", "replace").strip(), python)

    return ask
