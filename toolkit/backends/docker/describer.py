"""Describes a pipeline in a container of its own image: without network, secrets and volumes, and with a time limit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from toolkit.backends.describer import TIME_LIMIT, Describer, parse_answer
from toolkit.backends.docker.refusals import is_python_missing, python_missing, refusal_text
from toolkit.backends.docker.rendering import security_options
from toolkit.errors import BadInput, Infrastructure, ToolkitError
from toolkit.runtime.shared.protocol import PROTOCOL, RUNTIME_MAIN, WORKSPACE

if TYPE_CHECKING:
    import docker

    from toolkit.runtime.shared.documents import DescribeRequest, DescribeResponse


def image_describer(
    connect: Callable[[], docker.DockerClient],
    image: str,
    environment: Mapping[str, str],
    user: str,
    labels: dict[str, str],
    reference: str,
) -> Describer:
    """A describer that starts a container of the image for each request.

    Args:
        connect: gives the client of the engine; called when there is a request. image: the engine's id of it.
        user: of the process, as ``user:group``. reference: how sentences name the image.
    """

    def ask(request: DescribeRequest) -> DescribeResponse:
        api = connect().api
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
                **security_options(),
                "Init": True,
                "NetworkMode": "none",
                "LogConfig": {"Type": "json-file", "Config": {}},
            },
        )["Id"]
        try:
            return _ask_container(api, container, request, reference)
        finally:
            api.remove_container(container, force=True, v=True)

    def describe(request: DescribeRequest) -> DescribeResponse:
        import docker

        try:
            return ask(request)
        except ToolkitError:
            raise
        except docker.errors.APIError as error:
            text = refusal_text(error)
            if is_python_missing(text):
                raise python_missing(reference) from None
            raise Infrastructure(f"the pipeline can't be described in {reference}: {text}") from None
        except OSError as error:
            raise Infrastructure(f"the Docker engine stopped answering: {error}") from None

    return describe


def _ask_container(api: Any, container: str, request: DescribeRequest, reference: str) -> DescribeResponse:
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
    stderr = api.logs(container, stdout=False, stderr=True, tail=40).decode("utf-8", "replace").strip()
    return parse_answer(code, api.logs(container, stdout=True, stderr=False), stderr, reference)
