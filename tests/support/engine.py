"""The Docker engine of the tests, which they leave as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def without_images(root: Path) -> Iterator[None]:
    """Removes the images of a project at the end, and fails when one of its containers is left.

    A file makes the project's image its own. Tests run side by side: while the engine removes the last name of an image, another
    test may give it a new name, and the image would be gone for both.
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
    assert not left, f"containers were left: {[container['Names'] for container in left]}"
