"""What the host and the runtime agree on: numbers, places and names of files. Nothing else knows both sides.

Raise PROTOCOL whenever an older runtime could misread a newer host, or the other way round.
"""

from __future__ import annotations

PROTOCOL = 4
RECORD_VERSION = 1

FAULT = 117
"""The exit code kept for faults of the runtime's own: no gate line, no plan, a full disk, another protocol."""

RUNTIME_MAIN = "/opt/toolkit/runtime/main.py"
SDK_FOLDER = "/opt/toolkit/sdk"
IMAGE_FILE = "/opt/toolkit/image.json"
WORKSPACE = "/workspace"
"""The code's folder in the image, and the working folder of every step."""
RUN_FOLDER = "/run/toolkit"
"""Read-only in the container: the plan and the root parameters of this run."""
PLAN_FILE = "plan.json.gz"
PARAMETERS_FILE = "parameters.json.gz"
RUN_RECORD_FILE = "run.json.gz"
"""On a cluster: the run's record, which the first container that sees the volume publishes."""
CODE_FILE = "code.json.gz"
"""In the ``process`` environment only: the files that each attempt's folder of links is made of."""

GATE_VARIABLE = "TOOLKIT_GATE"
"""Set to ``stdin`` when the container is started before its turn and must wait for a line on standard input."""
PROCESS_VARIABLE = "TOOLKIT_PROCESS"
"""Set in the ``process`` environment only: JSON that says where the places above are on the host."""
PATH_VARIABLE = "TOOLKIT_PATH"
"""On a cluster: a step's path that Argo would change in an argument; Kubernetes puts it there. Not for user code."""

RUN_RECORD = "run.json"
CONTINUED_FOLDER = "continued"
"""Of a run that went on after its end: a folder for each time, numbered from 1, with a run.json and an end.json of its own."""
PART = "part"
"""In the run.json of a run that goes on on a cluster: the number of its folder."""
ATTEMPTS = "attempts"
"""There: the number of a task's next attempt, by its path; 1 where it is not said."""
AGAIN = "again"
"""There: the paths in the plan of tasks whose earlier successes do not count."""
MOVED_RECORD = "moved.json"
"""Of a run that goes on elsewhere: where."""
BEGIN_RECORD = "begin.json"
END_RECORD = "end.json"
ENGINE_RECORD = "engine.json"
OUTPUT_FILE = "output.log"
STEPS_FOLDER = "steps"

LARGE_VALUE = 64 * 1024
"""A parameter above this many bytes reaches a shell step as a file: one environment string ends at 128 KiB."""


NEXT_ATTEMPT = "next"
"""As ATTEMPT: the first number that is still free, for steps that are run by hand, one at a time and again."""
