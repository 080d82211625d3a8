"""What the host and the runtime agree on: numbers, paths, environment variables and names of files.

Raise PROTOCOL whenever an older runtime could misread a newer host, or the other way round.
"""

from __future__ import annotations

PROTOCOL = 6
RECORD_VERSION = 1

FAULT = 117
"""The exit code for faults of the runtime's own: no gate line, no plan, a full disk, another protocol."""

RUNTIME_MAIN = "/opt/toolkit/runtime/main.py"
SDK_FOLDER = "/opt/toolkit/sdk"
IMAGE_FILE = "/opt/toolkit/image.json"
WORKSPACE = "/workspace"
"""The folder of the code in the image, and the working folder of every step."""
IMAGE_USER = "1000:1000"
"""User and group in an image's config: those of a step whose client is root. Every backend sets its own."""
IMAGE_HOME = "/tmp/"
"""HOME in an image's config, for a user id that the image has no name for and whose home would be /, which nobody can write.

No step has it: its end tells it from a HOME of the user's own.
"""
RUN_FOLDER = "/run/toolkit"
"""The read-only folder in the container with the plan and the parameters of the run."""
PLAN_FILE = "plan.json.gz"
PARAMETERS_FILE = "parameters.json.gz"
SPELLINGS_FILE = "spellings.json.gz"
"""The texts that spelled parameters of the run, by name, where the values do not give them back. It is there if there are any."""
REWRITTEN_FILE = "rewritten.json.gz"
"""The text of each file that every step finds written anew with the run's values, by its path. It is there if there are any."""
RUN_RECORD_FILE = "run.json.gz"
"""On a cluster only: the run's record, which the first container that sees the volume publishes."""
CODE_FILE = "code.json.gz"
"""In the ``process`` environment only: the files that each attempt gets a copy of."""

ENDED_FILE = "ended"
"""The run's status, for the steps of on_exit, where a client drives the run. It is there once the pipeline's steps have ended."""
ENDED_VARIABLE = "TOOLKIT_RUN_ENDED"
"""The same on a cluster: Argo's word for how the pipeline has ended, and behind a space whether somebody had asked for that."""

GATE_VARIABLE = "TOOLKIT_GATE"
"""Set to ``stdin`` when a container is started before its turn and waits for a line on standard input."""
PROCESS_VARIABLE = "TOOLKIT_PROCESS"
"""Set in the ``process`` environment only: JSON that names the folders above on the host (see ``locations.py``)."""
VOLUME_VARIABLE = "TOOLKIT_VOLUME_"
"""The beginning of the variables that name the folders of the volumes."""
PATH_VARIABLE = "TOOLKIT_PATH"
"""On a cluster only: a step's path that Argo would change in an argument. User code does not see it."""

IMAGE_VARIABLE = "TOOLKIT_IMAGE"
"""In every container of a step: JSON of the image that the run has resolved, with its ``reference``, and ``code`` and
``environment`` as its id file has them. The runtime refuses to run in another image. User code does not see it."""
REMOVED = "removed"
"""In place of a signal for the command ``--signal``: Kubernetes is about to stop the container, because its pod is removed."""

RUN_RECORD = "run.json"
CONTINUED_FOLDER = "continued"
"""The folder of a run's continuations: one folder for each, numbered from 1, with a run.json and an end.json."""
PART = "part"
"""A key of the run.json of a continuation on a cluster: the number of its folder."""
MOVED_RECORD = "moved.json"
"""The mark of a run that was moved: it names the place that the run was moved to."""
BEGIN_RECORD = "begin.json"
END_RECORD = "end.json"
ENGINE_RECORD = "engine.json"
VALUES_FILE = "values.jsonl"
"""The values of an attempt that are too large for its record, each on a line."""
REDUCED_RECORD = "reduced.json"
"""What a function of the user's makes of the values that all items of a map returned; the last item's attempt records it."""
OUTPUT_FILE = "output.log"
STEPS_FOLDER = "steps"

LARGE_VALUE = 64 * 1024
"""Bytes. A longer parameter reaches a shell step as a file, because one environment string ends at 128 KiB."""

LARGEST_IN_RECORD = 1024 * 1024
"""Bytes of a value as JSON. A larger one lies beside the record."""

NEXT_ATTEMPT = "next"
"""In place of an attempt's number: the first number that is free, for single steps that a person runs."""


def volume_variable(name: str) -> str:
    """The environment variable that names the folder of the volume of this name, in every environment."""
    return VOLUME_VARIABLE + "".join(letter if letter.isalnum() else "_" for letter in name.upper())
