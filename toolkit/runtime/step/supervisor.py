"""Runs one attempt of a step: waits at the gate, writes the records, and watches the child that runs the user's code.

The process ends with 0 only after end.json was renamed into place.
"""

from __future__ import annotations

import json
import os
import signal

from ..shared import layout, records
from ..shared.catalog import BadKey, FileStore, StepFiles, StoreFault
from ..shared.controls import Controls, group_ranges, write_control_files
from ..shared.locations import Locations, current_locations
from ..shared.protocol import (
    AGAIN,
    ATTEMPTS,
    BEGIN_RECORD,
    CODE_FILE,
    END_RECORD,
    FAULT,
    GATE_VARIABLE,
    NEXT_ATTEMPT,
    OUTPUT_FILE,
    PATH_VARIABLE,
    PROCESS_VARIABLE,
    PROTOCOL,
    RECORD_VERSION,
)
from ..shared.redaction import Redactor
from ..shared.scope import RecordReader, RunPlan, Scope, UnsuitableValue, load_json, read_plan
from ..shared.tree import GROUP, REPEATED
from ..user import child
from ..user.conversion import BadValue
from . import begin_record, cgroup
from .child_process import Child, Witness
from .output import Output
from .run_record import WrongRun, publish_run, submitted_record
from .work_folder import list_code, make_work_folder, replace_link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, Optional


TERMINATION_LOG = "/dev/termination-log"
LONGEST_LAST_WORDS = 2048
"""Bytes: Kubernetes keeps 4096 of a container's, and Argo copies them into the Workflow's status, which has a limit too."""


class RuntimeFault(Exception):
    """The runtime could not do its part; the attempt ends with FAULT and, where the disk allows, without a record."""


def main(argv: list[str]) -> NoReturn:
    """``main.py PROTOCOL RUN_ID PATH ATTEMPT``."""
    try:
        code = _run(argv)
    except (RuntimeFault, WrongRun, StoreFault) as error:
        code = _give_up(str(error))
    except OSError as error:
        code = _give_up(f"{error.filename or 'the volume'}: {error.strerror}")
    except MemoryError:
        code = _give_up("the runtime ran out of memory")
    # Not sys.exit: nothing of the user's may run in the supervisor's end.
    os._exit(code)


def _give_up(reason: str) -> int:
    text = f"toolkit runtime: {reason}\n"
    try:
        os.write(2, text.encode("utf-8", "replace"))
    except OSError:
        pass
    _tell_engine(text)
    return FAULT


def _tell_engine(reason: str) -> None:
    """Leaves the reason where Kubernetes takes a container's last words from; nothing else has such a file."""
    try:
        if os.path.exists(TERMINATION_LOG):
            with open(TERMINATION_LOG, "wb") as file:
                file.write(reason.encode("utf-8", "replace")[:LONGEST_LAST_WORDS])
    except OSError:
        pass


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
    attempt = None if argv[4] == NEXT_ATTEMPT else int(argv[4])
    signal.signal(signal.SIGTERM, _leave_on_term)
    # Ctrl-C at the container's own terminal: without this nothing would be recorded of its end.
    signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    places = current_locations()
    try:
        plan = read_plan(places.run)
    except (OSError, ValueError, EOFError) as error:
        raise RuntimeFault(
            f"the plan in {places.run} can't be read ({error}): is the volume's folder on the engine's own machine?"
        ) from None
    step = plan.step(path)
    if step is None:
        raise RuntimeFault(f"the plan has no step {path}")
    gated = os.environ.pop(GATE_VARIABLE, "") == "stdin"
    secrets = _pass_gate() if gated else None
    os.umask(0o002)
    given = submitted_record(places.run)
    first = given.get(ATTEMPTS, {}).get(path, 1)
    if attempt is not None:
        # The engine counts from 1; the run may go on with a task that had attempts before.
        attempt += first - 1
    publish_run(os.path.join(places.translate(plan.document["stores"]["run_log"]), run_id), run_id, given)
    several = _group(plan, places, run_id, path)
    if several is None:
        return AttemptRunner(run_id, path, attempt, places, plan, step, secrets).run()
    # Of an item that had succeeded nothing is run again, unless it is asked for.
    least = first if step["path"] in given.get(AGAIN, ()) else 1
    return _run_group(run_id, path, several, attempt, least, places, plan, step, secrets)


def _leave_on_term(*_: Any) -> None:
    os._exit(128 + signal.SIGTERM)


def _group(plan: RunPlan, places: Locations, run_id: str, path: str) -> Optional[list[str]]:
    """The instance paths of a container that runs several items of a map; None of one that is a step by itself."""
    if GROUP not in path:
        return None
    run_folder = os.path.join(places.translate(plan.document["stores"]["run_log"]), run_id)
    for place in plan.trail(path) or ():
        rest = path[len(place.path) + 1 :]
        group, _, after = rest.partition("/")
        if place.row["type"] in REPEATED and group.startswith(GROUP):
            try:
                count = len(Scope(plan, RecordReader(run_folder), place.path).items(place.row, place.path))
            except UnsuitableValue as error:
                raise RuntimeFault(str(error)) from None
            ranges = group_ranges(count, place.row["pods"])
            return [f"{place.path}/{position}/{after}" for position in ranges[int(group[len(GROUP) :])]]
    return None


def _run_group(
    run_id: str,
    group: str,
    paths: list[str],
    attempt: Optional[int],
    least: int,
    places: Locations,
    plan: RunPlan,
    step: dict[str, Any],
    secrets: Optional[dict[str, str]],
) -> int:
    """Runs items one after the other, each an attempt of its own; a failing one lets the others go on.

    An item goes no further whose step before this one failed, and one that succeeded in an earlier attempt is not run again.

    Args:
        least: the number of the first attempt whose success counts.
    """
    run_folder = os.path.join(places.translate(plan.document["stores"]["run_log"]), run_id)
    work, worst = places.work, 0
    one: Optional[AttemptRunner] = None
    for path in paths:
        known = RecordReader(run_folder, least=least)
        before = _step_before(plan, path)
        if known.record(path) is not None or (before is not None and known.record(before) is None):
            continue
        # Until the next one begins there is nothing to end but this process; what came during the last one counts.
        signal.signal(signal.SIGTERM, _leave_on_term)
        if one is not None and one.asked_to_stop:
            break
        places.work = work
        os.chdir(work)
        one = AttemptRunner(run_id, path, attempt, places, plan, step, secrets, group=group)
        code = one.run()
        worst = worst or code
    return worst


def _step_before(plan: RunPlan, path: str) -> Optional[str]:
    """The task before the one at ``path`` in its sequence."""
    trail = plan.trail(path)
    assert trail is not None
    place = trail[-1]
    steps = plan.scopes[place.template]["steps"]
    position = steps.index(place.row["path"])
    if position == 0:
        return None
    return path.rpartition("/")[0] + "/" + str(plan.rows[steps[position - 1]]["name"])


def _pass_gate() -> dict[str, str]:
    """Waits for the line that lets a container go which was started before its turn; the line carries its secrets."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 1 << 16)
        if not chunk:
            # The client is gone, or the run ended before this step's turn.
            os._exit(FAULT)
        line += chunk
    secrets: dict[str, str] = json.loads(line)["secrets"]
    return secrets


def _next_folder(run_folder: str, path: str) -> str:
    """Takes the first free attempt number by making its folder exclusively: of two at once, each gets its own."""
    number = max(layout.attempts(run_folder, path), default=0) + 1
    while True:
        folder = layout.attempt_folder(run_folder, path, number)
        try:
            os.makedirs(folder)
            return folder
        except FileExistsError:
            number += 1


class AttemptRunner:
    """One attempt of one step, from the gate to the exit code.

    Args:
        group: the path of the group of items that share this container; empty where it is one step's alone.

    """

    def __init__(
        self,
        run_id: str,
        path: str,
        attempt: Optional[int],
        places: Locations,
        plan: RunPlan,
        step: dict[str, Any],
        secrets: Optional[dict[str, str]],
        group: str = "",
    ) -> None:
        self.step = step
        self.plan = plan
        self.places = places
        self.settings = plan.settings(step)
        stores = plan.document["stores"]
        self.run_id = run_id
        self.run_folder = os.path.join(places.translate(stores["run_log"]), run_id)
        self.path = path
        self.folder = layout.attempt_folder(self.run_folder, path, attempt) if attempt is not None else ""
        location = stores["catalog"]
        self.store = FileStore(places.translate(location) if location else None)
        self.data_folder = stores["data_folder"]
        self.group = group
        self._watched: Optional[Child] = None
        self.scope = Scope(plan, RecordReader(self.run_folder), path)
        names = self.step["secrets"] + [one["environment_variable"] for one in self.settings["secrets"]]
        # Where there is no gate the engine has put them into the environment by reference.
        self.gated = secrets is not None
        if secrets is None:
            secrets = {name: os.environ[name] for name in names if name in os.environ}
        self.secrets = secrets
        self.redactor = Redactor(self.secrets)
        # In a container /tmp goes with it; elsewhere the client removes what lies beside the work folder.
        self.private = f"/tmp/toolkit-{os.getpid()}" if places.in_container else places.work + ".private"
        if group:
            # An item finds nothing of the one before it.
            self.private += "-" + path.split("/")[-2]
        self.got: list[dict[str, Any]] = []
        self.put: list[dict[str, Any]] = []

    @property
    def asked_to_stop(self) -> bool:
        """Whether it was asked to end since its child was started, be it after the child's end."""
        return self._watched is not None and self._watched.asked_to_stop

    def run(self) -> int:
        started = records.now()
        if self.folder:
            os.makedirs(self.folder, exist_ok=True)
        else:
            self.folder = _next_folder(self.run_folder, self.path)
        ended = records.read(os.path.join(self.folder, END_RECORD))
        if ended is not None:
            # Argo makes a pod again that was deleted before it saw the end: what was recorded is what there is to say.
            _tell_engine(ended.get("reason", ""))
            recorded: int = ended["exit_code"]
            if recorded == 0 and self.step.get("emits"):
                self._enter_work_folder()
                self._emit(ended, self._environment())
            return recorded
        if os.path.exists(os.path.join(self.folder, BEGIN_RECORD)):
            raise RuntimeFault(
                f"{self.folder} was begun before, in a container that was deleted: an attempt is never run twice"
            )
        self._enter_work_folder()
        environment = self._environment()
        command = self.step.get("command") or self.step.get("function")
        begun = begin_record.begin_record(started, self.places, command, environment)
        if self.group:
            begun["group"] = self.group
        records.write(os.path.join(self.folder, BEGIN_RECORD), begun)
        kills = cgroup.memory_kills() if self.places.in_container else 0
        try:
            self._get_files()
            outcome = self._watch(environment)
        except BadKey as error:
            outcome = {"exit_code": 1, "reason": str(error)}
        self._judge(outcome, kills)
        if outcome.get("fault"):
            raise RuntimeFault(outcome["fault"])
        self._put_files(outcome)
        record = self._end_record(started, outcome)
        if outcome["exit_code"] == 0 and self.step.get("emits"):
            self._emit(record, environment)
        records.write(os.path.join(self.folder, END_RECORD), record)
        if record.get("reason"):
            _tell_engine(record["reason"])
        code: int = outcome["exit_code"]
        return code

    # --- before -----------------------------------------------------------------------------------------------------

    def _enter_work_folder(self) -> None:
        """Goes to the step's folder; where the code can't be written in place, to a folder of links to it."""
        work = self.places.work
        os.makedirs(self.private, mode=0o700)
        if not self.places.in_container:
            make_work_folder(work, self.places.code, load_json(os.path.join(self.places.run, CODE_FILE))["files"])
        elif self.group or not os.access(work, os.W_OK):
            work = os.path.join(self.private, "work")
            make_work_folder(work, self.places.code, list_code(self.places.code))
        self.places.work = work
        os.chdir(work)
        self._own_what_it_puts()

    def _own_what_it_puts(self) -> None:
        """Makes copies of links to files that the step puts: it writes those, and would write into the project."""
        files = self._files()
        for key in self.step["catalog"]["put"]:
            try:
                found = files.to_put(key)
            except BadKey:
                continue
            for _, path in found:
                if os.path.islink(path) and os.path.realpath(path).startswith(os.path.realpath(self.places.code)):
                    replace_link(path)

    def _environment(self) -> dict[str, str]:
        """What user code sees: the image's and the plan's variables and its own secrets, without the engine's."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ARGO_", "KUBERNETES_"))
            and name not in (PROCESS_VARIABLE, GATE_VARIABLE, PATH_VARIABLE, *self.places.hidden)
            and not name.startswith(PATH_VARIABLE + "_")
        }
        kept.update(self.settings["environment"])
        kept.update(self._indices())
        kept.update(self.secrets)
        home = kept.get("HOME", "")
        if not (home and home != "/" and os.access(home, os.W_OK)):
            kept["HOME"] = os.path.join(self.private, "home")
            os.makedirs(kept["HOME"], exist_ok=True)
        kept["PWD"] = self.places.work
        kept.setdefault("PYTHONHASHSEED", "0")
        return kept

    def _indices(self) -> dict[str, str]:
        """The index of each loop around the step, by the name that it gives it."""
        found = {}
        for place in self.plan.trail(self.path) or ():
            if place.row["type"] == "loop" and place.row.get("item") and place.path != self.path:
                found[place.row["item"]] = self.path[len(place.path) + 1 :].split("/")[0]
        return {name: text for name, text in found.items() if text.isdigit()}

    def _files(self) -> StepFiles:
        inside = [self.places.work, self.places.code]
        return StepFiles(os.path.normpath(os.path.join(self.places.work, self.data_folder)), inside)

    def _get_files(self) -> None:
        wanted = self.step["catalog"]["get"]
        files = self._files()
        for one in wanted:
            for entry, source in self.scope.files(one["key"], one["step"]):
                self.store.get_file(entry["sha256"], files.target(entry["name"]))
                self.got.append({**entry, "from": source})

    def _job(self, scope: Scope) -> child.TaskRunner:
        roots = self.plan.document["import_roots"]
        return child.TaskRunner(
            self.step, roots, scope, self.store, self.places, self.redactor, self.private, self.data_folder
        )

    # --- the child --------------------------------------------------------------------------------------------------

    def _watch(self, environment: dict[str, str]) -> dict[str, Any]:
        output = Output(os.path.join(self.folder, OUTPUT_FILE), self.redactor)
        job = self._job(self.scope)
        witness = Witness() if self.places.in_container and os.getpid() != 1 else None
        client = 0 if self.gated else None
        self._watched = Child(lambda result: child.run(job, environment, result), output, client, witness)
        outcome = self._watched.wait(self.settings["time_limit"], self.settings["grace_period"])
        output.close()
        if output.fault is not None:
            outcome["fault"] = f"{OUTPUT_FILE} can't be written: {output.fault}"
        return self._with_result(job, outcome)

    def _with_result(self, job: child.TaskRunner, outcome: dict[str, Any]) -> dict[str, Any]:
        """Adds to the way the child ended what it said of itself."""
        line, _, rest = outcome.pop("result").partition(b"\n")
        try:
            said = json.loads(line) if line else {}
        except ValueError:
            said = {}
        for key in ("returns", "inputs", "exception", "fault"):
            if said.get(key) is not None:
                outcome.setdefault(key, said[key])
        if said.get("reason") and not outcome.get("reason"):
            outcome["reason"] = said["reason"]
        if outcome["exit_code"] == 0 and not outcome.get("cancelled"):
            if self.step["kind"] == "shell":
                try:
                    outcome["returns"] = job.exported(rest)
                except (child.TaskFailure, BadValue) as error:
                    outcome.update(exit_code=1, reason=str(error))
            elif not isinstance(said.get("returns"), dict):
                outcome.update(
                    exit_code=1, reason="the process ended with 0 before the function returned (os._exit or exec?)"
                )
        return outcome

    def _judge(self, outcome: dict[str, Any], kills: int) -> None:
        """Settles exit code and reason; a memory kill of any process fails the attempt, whatever the others did."""
        if self.places.in_container and cgroup.memory_kills() > kills:
            limit = cgroup.limits()["memory"]
            shown = f" of {limit} bytes" if limit else ""
            outcome["out_of_memory"] = True
            outcome["reason"] = f"out of memory: the kernel killed a process at the limit{shown}"
            outcome["exit_code"] = outcome["exit_code"] or 137
        if outcome["exit_code"] != 0 and not outcome.get("reason"):
            exception = outcome.get("exception")
            if exception:
                first = exception["message"].strip().split("\n")[0]
                outcome["reason"] = f"{exception['type']}: {first}" if first else exception["type"]
            elif outcome.get("signal"):
                outcome["reason"] = f"killed by signal {outcome['signal']}"
            else:
                outcome["reason"] = f"ended with exit code {outcome['exit_code']}"

    # --- after ------------------------------------------------------------------------------------------------------

    def _put_files(self, outcome: dict[str, Any]) -> None:
        """Puts what the step declares; of a step that failed, what of it was written."""
        files = self._files()
        copy = self.step["catalog"]["store_copy"]
        known: dict[str, dict[str, Any]] = {}
        for key in self.step["catalog"]["put"]:
            try:
                for name, path in files.to_put(key):
                    known[name] = {"name": name, **self.store.put_file(path, copy)}
            except (BadKey, OSError) as error:
                if outcome["exit_code"] == 0:
                    reason = str(error) if isinstance(error, BadKey) else f"{key} can't be read: {error.strerror}"
                    outcome.update(exit_code=1, reason=reason)
        self.put = [known[name] for name in sorted(known)]

    def _emit(self, record: dict[str, Any], environment: dict[str, str]) -> None:
        """Computes what the composites after this step need to know before they start."""
        known = RecordReader(self.run_folder, {self.path: record})
        job = self._job(Scope(self.plan, known, self.path))
        controls = Controls(
            self.plan, known, lambda reducer, items: child.reduce_in_fork(job, environment, reducer, items)
        )
        values, files = controls.of_emissions(self.step["emits"], self.path)
        record["controls"] = values
        if self.places.in_container:
            write_control_files(files)

    def _end_record(self, started: str, outcome: dict[str, Any]) -> dict[str, Any]:
        code = outcome["exit_code"]
        status = "succeeded" if code == 0 else "cancelled" if outcome.get("cancelled") else "failed"
        inputs = outcome.get("inputs") or {}
        record: dict[str, Any] = {
            "version": RECORD_VERSION,
            "started": started,
            "ended": records.now(),
            "status": status,
            "exit_code": code,
            "inputs": inputs,
            "inputs_digest": self._inputs_digest(inputs),
            "returns": (outcome.get("returns") or {}) if code == 0 else {},
            "catalog": {"get": self.got, "put": self.put},
        }
        for key in ("reason", "exception", "out_of_memory"):
            if outcome.get(key):
                record[key] = outcome[key]
        if "reason" in record:
            record["reason"] = self.redactor.text(record["reason"][:10_000])
        return record

    def _inputs_digest(self, inputs: dict[str, Any]) -> str:
        """One hash over all that the outcome depends on: code, command, environment, parameters and files."""
        image = records.read(self.places.image_file) if self.places.image_file else None
        known = {
            "image": image,
            "command": self.step.get("command") or self.step.get("function"),
            "environment": self.settings["environment"],
            "inputs": {name: one.get("sha256", one.get("value")) for name, one in inputs.items()},
            "files": sorted((one["name"], one["sha256"]) for one in self.got),
        }
        return child._sha256(records.encode(known))
