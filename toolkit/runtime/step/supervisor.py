"""The supervisor of a step's container: reads its call and its plan, waits at the gate, and runs one attempt or a group of items.

The process ends with 0 only after end.json was renamed into place.
"""

from __future__ import annotations

import json
import os

from ..shared.catalog import StoreFault
from ..shared.locations import current_locations
from ..shared.protocol import FAULT, GATE_VARIABLE, IMAGE_VARIABLE, NEXT_ATTEMPT, PROTOCOL
from ..shared.scope import read_plan
from ..shared.termination import give_up
from ..shared.tree import ANY, GROUP
from .attempt import AttemptRunner, RuntimeFault
from .image_check import WrongImage, check_image
from .run_record import WrongRun, publish_run, submitted_record
from .stop_requests import leave_on_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str]) -> NoReturn:
    """``main.py PROTOCOL RUN_ID PATH ATTEMPT``."""
    try:
        code = _run(argv)
    except (RuntimeFault, WrongImage, WrongRun, StoreFault) as error:
        code = give_up(str(error))
    except OSError as error:
        code = give_up(f"{error.filename or 'the volume'}: {error.strerror}")
    except MemoryError:
        code = give_up("the runtime ran out of memory")
    # Not sys.exit: nothing of the user's may run in the supervisor's end.
    os._exit(code)


def _run(argv: list[str]) -> int:
    if len(argv) < 2 or argv[1] != str(PROTOCOL):
        spoken = argv[1] if len(argv) > 1 else "none"
        raise RuntimeFault(
            f"the image's runtime speaks protocol {PROTOCOL} and was called with protocol {spoken}: "
            "build the image again"
        )
    if len(argv) != 5 or not (argv[4].isdigit() or argv[4] == NEXT_ATTEMPT):
        raise RuntimeFault("the runtime was called with the wrong arguments")
    run_id, path = argv[2], argv[3]
    number = None if argv[4] == NEXT_ATTEMPT else int(argv[4])
    leave_on_request()
    locations = current_locations()
    expected_image = os.environ.pop(IMAGE_VARIABLE, "")
    if expected_image and locations.in_container:
        check_image(expected_image, locations.image_file)
    try:
        plan = read_plan(locations.run)
    except (OSError, ValueError, EOFError) as error:
        raise RuntimeFault(
            f"the plan in {locations.run} can't be read ({error}): is the volume's folder on the engine's own machine?"
        ) from None
    run_folder = os.path.join(locations.translate(plan.document["stores"]["run_log"]), run_id)
    if ANY in path:
        # Only docker-compose's services of a map's or a loop's steps have such a path.
        from .chosen_item import chosen_path

        path = chosen_path(plan, run_folder, path)
    step = plan.step(path)
    if step is None:
        raise RuntimeFault(f"the plan has no step {path}")
    gated = os.environ.pop(GATE_VARIABLE, "") == "stdin"
    secrets = _wait_at_gate() if gated else None
    os.umask(0o002)
    submitted = submitted_record(locations.run)
    first = submitted.get("attempts", {}).get(path, 1) if submitted is not None else 1
    if number is not None:
        # The engine counts from 1, but a run that resumes may have attempts of this task already.
        number += first - 1
    publish_run(run_folder, run_id, submitted)
    items = None
    if GROUP in path:
        # Most containers run one step: only the others pay for this import.
        from .item_group import item_paths, run_items

        items = item_paths(plan, run_folder, path)
    if items is None:
        return AttemptRunner(run_folder, path, number, locations, plan, step, secrets).run()
    # An item that had succeeded is not run again, unless that was asked for.
    again = submitted.get("again", []) if submitted is not None else []
    least = first if step["path"] in again else 1

    def attempt_of(item: str) -> AttemptRunner:
        return AttemptRunner(run_folder, item, number, locations, plan, step, secrets, group=path)

    return run_items(plan, locations, run_folder, items, least, attempt_of)


def _wait_at_gate() -> dict[str, str]:
    """Waits for the line that lets a container run which was started before its turn; returns the secrets in it."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 1 << 16)
        if not chunk:
            # The client is gone, or the run ended before this step's turn.
            os._exit(FAULT)
        line += chunk
    secrets: dict[str, str] = json.loads(line)["secrets"]
    return secrets
