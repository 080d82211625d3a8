"""What a refusal or the silence of the Docker engine means to the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.errors import BadInput, Infrastructure, ToolkitError

if TYPE_CHECKING:
    import docker


def refusal_text(error: docker.errors.APIError) -> str:
    """The engine's own words for why it refused a request."""
    return str(error.explanation or error).strip()


def is_python_missing(text: str) -> bool:
    """Whether the engine could not start a container because its image has no ``python3``."""
    return "executable file not found" in text or ("no such file or directory" in text and "python3" in text)


def python_missing(image: str) -> BadInput:
    return BadInput(f"the image {image} has no python3 on its PATH: steps need Python 3.9 or later in it")


def is_folder_missing(text: str) -> bool:
    """Whether the engine has no folder of the path that a container mounts."""
    return "bind source path does not exist" in text or "bind mount source path does not exist" in text


def explain_refusal(error: docker.errors.APIError, image: str, steps_have_run: bool) -> ToolkitError:
    """The error for a container of a step that the engine refused to create or to start.

    Args:
        image: its reference. steps_have_run: whether a step of this run has begun.
    """
    text = refusal_text(error)
    if error.status_code == 404 and "No such image" in text:
        if steps_have_run:
            return Infrastructure(
                f"the image {image} was removed from the engine while the run needed it: `toolkit retry` builds or pulls it "
                "again and resumes the run"
            )
        return BadInput(f"the image {image} does not exist in the engine any more: run `toolkit build`")
    if is_python_missing(text):
        return python_missing(image)
    if is_folder_missing(text):
        return Infrastructure(
            "the engine does not see this machine's folders: volumes need an engine that runs on this machine"
        )
    if "could not select device driver" in text:
        return Infrastructure(
            "the engine has no GPU support: install the NVIDIA container toolkit, or remove the gpu limit"
        )
    return Infrastructure(f"the engine can't start a container of {image}: {text}")


def stopped_answering(error: Exception) -> Infrastructure:
    """The error for an engine that no longer answers while steps run on it."""
    return Infrastructure(
        f"the Docker engine stopped answering ({type(error).__name__}): containers of this run may still be running there; "
        "once the engine is back, `docker ps -a --filter label=dev.toolkit.run` lists them and the next run removes them"
    )
