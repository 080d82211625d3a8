"""The Docker engine that tests run on, left as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def without_images(root: Path) -> Iterator[None]:
    """Removes what a project made in the engine; nothing of its may be left running.

    Its image is made its own by a file, since tests run side by side: an engine that is told to remove one name of an image may
    not have seen yet that somebody gives it another, and the image is gone for both.
    """
    import docker

    root.mkdir(parents=True, exist_ok=True)
    (root / "this-test").write_text(root.name)
    client = docker.from_env()
    yield
    left = client.api.containers(all=True, filters={"label": f"dev.toolkit.project={root}"})
    for container in left:
        client.api.remove_container(container["Id"], force=True)
    for image in client.images.list(name=root.name):
        for tag in image.tags:
            client.api.remove_image(tag, force=True, noprune=True)
    client.close()
    assert not left, f"containers were left: {[one['Names'] for one in left]}"
