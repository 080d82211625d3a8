"""What a patched step does in place of its work: it writes the patch's files and returns the patch's values."""

from __future__ import annotations

import base64
import functools
import os

from ..shared.keys import fill_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..shared.documents import StoredValue
    from .child import TaskRunner


def give(step: TaskRunner) -> dict[str, StoredValue]:
    """Writes the files where the step would have, and gives its returns as the record holds them.

    Raises:
        TaskFailure, BadValue: a value is not of its kind, or holds a secret. BadKey: a name in a key has no value.
        OSError: a file can't be written.
    """
    patch = step.step["patched"]
    for key, content in patch["files"].items():
        name, _ = fill_key(key, functools.partial(step.text_in_key, key))
        path = os.path.join(step.locations.work, step.data_folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.islink(path):
            # To the project's own file, in a plain process.
            os.unlink(path)
        with open(path, "wb") as file:
            file.write(base64.b64decode(content))
    print("this step is patched: it gives what its patch says, and nothing of it runs")
    return step.store_returns(patch["returns"])
