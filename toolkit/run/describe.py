"""Describes a pipeline without importing user code into this process: in its own image, or in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from toolkit.config.located import shown
from toolkit.errors import BadInput, Infrastructure, ToolkitError
from toolkit.model import yaml_form
from toolkit.model.description import to_pipeline
from toolkit.model.pipeline import Pipeline
from toolkit.project import Project
from toolkit.run.reference import PipelineReference
from toolkit.runtime.protocol import FAULT, PROTOCOL, RUNTIME_MAIN, WORKSPACE

if TYPE_CHECKING:
    import docker

TIME_LIMIT = 120.0
"""Seconds that the user's file may take; imports of large libraries are most of it."""
_NOTE = "while it was described (which is done without secrets, network and volumes)"

Answer = dict[str, Any]
Ask = Callable[[dict[str, Any]], Answer]
"""Sends a request to the runtime's describe and returns its answer."""


def describe(project: Project, reference: PipelineReference, ask: Ask) -> Pipeline:
    """The model of a pipeline.

    Raises:
        BadInput: the file, or a function that it names, is not there or is not what a pipeline is made of.
    """
    file = shown(reference.file)
    if reference.is_yaml:
        description = yaml_form.read(reference.file)
        _resolve_functions(description, project, reference, ask)
    else:
        request = _request(project, reference)
        request.update(file=reference.relative(project), name=reference.name, nth=reference.nth)
        request["arguments"] = list(reference.arguments)
        description = _pipeline_of(ask(request), file)
    return to_pipeline(description, file)


def _request(project: Project, reference: PipelineReference) -> dict[str, Any]:
    return {"roots": list(reference.import_roots(project)), "file": None, "functions": []}


def _pipeline_of(answer: Answer, file: str) -> dict[str, Any]:
    if "refused" in answer:
        raise BadInput(answer["refused"], f"{file}:{answer['line']}" if answer.get("line") else file)
    if "raised" in answer:
        raise BadInput(f"the file raised {answer['raised']} {_NOTE}\n{answer['traceback'].rstrip()}", file)
    found: dict[str, Any] = answer["pipeline"]
    return found


def _resolve_functions(node: Any, project: Project, reference: PipelineReference, ask: Ask) -> None:
    tasks = list(_python_tasks(node))
    if not tasks:
        return
    dotted = sorted({_dotted(task) for task in tasks})
    answer = ask({**_request(project, reference), "functions": dotted})
    file = shown(reference.file)
    if "functions" not in answer:
        _pipeline_of(answer, file)
    for task in tasks:
        found = answer["functions"][_dotted(task)]
        if "refused" in found:
            raise BadInput(f"the step {task['name']!r}: {found['refused']}", f"{file}:{task['line']}")
        task["function"], task["takes"] = found["function"], found["takes"]


def _dotted(task: dict[str, Any]) -> str:
    function = task["function"]
    return f"{function['module']}.{function['qualname']}" if function["module"] else str(function["qualname"])


def _python_tasks(node: Any) -> Any:
    if isinstance(node, dict):
        if node.get("kind") == "python" and "function" in node:
            yield node
        for value in node.values():
            yield from _python_tasks(value)
    elif isinstance(node, list):
        for value in node:
            yield from _python_tasks(value)


# --- in the image ---------------------------------------------------------------------------------------------------


def cached(folder: Path, image: str, ask: Ask) -> Ask:
    """Remembers answers by the image's digest and the request: the same file in the same image says the same."""

    def asked(request: dict[str, Any]) -> Answer:
        key = json.dumps([PROTOCOL, image, request], sort_keys=True)
        file = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
        try:
            found: Answer = json.loads(file.read_bytes())
            return found
        except (OSError, ValueError):
            pass
        answer = ask(request)
        if "refused" not in answer and "raised" not in answer:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = file.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(answer))
            temporary.replace(file)
        return answer

    return asked


def in_image(
    connect: Callable[[], docker.DockerClient], image: str, environment: dict[str, str], user: str, labels: dict[str, str]
) -> Ask:
    """Asks in a container of the image: no network, no secrets, no volume, a time limit."""

    def ask(request: dict[str, Any]) -> Answer:
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

    def guarded(request: dict[str, Any]) -> Answer:
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


def _ask_container(api: Any, container: str, request: dict[str, Any], image: str) -> Answer:
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
    return _answered(code, api.logs(container, stdout=True, stderr=False), said, image)


def _answered(code: int, output: bytes, said: str, image: str) -> Answer:
    if code == FAULT or (code != 0 and "can't open file" in said):
        raise BadInput(f"the runtime in the image {image} is another version's: build it again ({said[-300:]})")
    try:
        answer: Answer = json.loads(output)
    except ValueError:
        ending = f": {said}" if said else ""
        raise BadInput(f"the pipeline's file ended the interpreter (exit code {code}) {_NOTE}{ending}") from None
    return answer


# --- in a process ---------------------------------------------------------------------------------------------------


def in_process(python: str, main: Path, environment: dict[str, str]) -> Ask:
    """Asks in a plain process of the project's own interpreter."""

    def ask(request: dict[str, Any]) -> Answer:
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
        return _answered(process.returncode, output, said.decode("utf-8", "replace").strip(), python)

    return ask


