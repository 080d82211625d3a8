"""One attempt of one step: its folder and records, its files from and for the catalog, and the child that runs its code."""

from __future__ import annotations

import os
import stat

from ..shared import layout, records
from ..shared.catalog import BadKey, FileStore, StepFiles, StoreFault, check_key, is_empty_folder
from ..shared.controls import Controls, write_control_files
from ..shared.protocol import (
    BEGIN_RECORD,
    CODE_FILE,
    END_RECORD,
    OUTPUT_FILE,
    RECORD_VERSION,
    REDUCED_RECORD,
    REWRITTEN_FILE,
)
from ..shared.redaction import Redactor
from ..shared.scope import RecordReader, Scope, UnsuitableValue, load_json
from ..shared.stored_values import publish_values, value_digest
from ..shared.termination import leave_message
from ..user import child
from ..user.conversion import BadValue
from ..user.shells import STRICT
from . import begin_record, cgroup
from .child_process import Child, Witness
from .end_record import digest_inputs, end_record
from .environment import loop_indices, user_environment
from .left_files import MOST_SECONDS, MOST_SECONDS_STOPPED, is_layered, left_files, left_message, make_mark, names_below
from .outcome import AttemptOutcome
from .output import Output
from .work_folder import UPPER, list_code, make_upper, make_work_folder, replace_link, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Union

    from ..shared.documents import (
        CatalogEntry,
        EndRecord,
        FunctionRow,
        GotEntry,
        LeftRecord,
        ReducedRecord,
        StepRow,
        StoredValue,
    )
    from ..shared.locations import Locations
    from ..shared.scope import RunPlan


class RuntimeFault(Exception):
    """The runtime could not do its part; the attempt ends with FAULT and, where the disk allows, without a record."""


class AttemptRunner:
    """One attempt, from the opened gate to the exit code.

    Args:
        run_folder: the run's folder in the run log. attempt: its number; None takes the first that is free.
        step: the plan's row. secrets: those that came through the gate; None where there is no gate.
        group: the path of the group of items that share this container; empty where it is one step's alone.
    """

    def __init__(
        self,
        run_folder: str,
        path: str,
        attempt: Optional[int],
        locations: Locations,
        plan: RunPlan,
        step: StepRow,
        secrets: Optional[dict[str, str]],
        group: str = "",
    ) -> None:
        self.step = step
        self.plan = plan
        self.locations = locations
        self.settings = plan.settings(step)
        stores = plan.document["stores"]
        self.run_folder = run_folder
        self.path = path
        self.folder = layout.attempt_folder(run_folder, path, attempt) if attempt is not None else ""
        catalog = stores["catalog"]
        self.store = FileStore(locations.translate(catalog) if catalog else None)
        self.data_folder = stores["data_folder"]
        # A catalog that stores nothing could not have kept a file that nobody put.
        self._looks_for_files = catalog is not None
        self.group = group
        self._gives_patch = "returns" in step.get("patched", ())
        self._runs_shell = step["kind"] == "shell" and not self._gives_patch
        self._child: Optional[Child] = None
        self._reader = RecordReader(run_folder)
        self.scope = Scope(plan, self._reader, path)
        names = step["secrets"] + [secret["environment_variable"] for secret in self.settings["secrets"]]
        # Where there is no gate the engine has put them into the environment by reference.
        self.gated = secrets is not None
        if secrets is None:
            secrets = {name: os.environ[name] for name in names if name in os.environ}
        self.secrets = secrets
        self.redactor = Redactor(self.secrets)
        # In a container /tmp goes with it; elsewhere the client removes what lies beside the work folder.
        self.private = f"/tmp/toolkit-{os.getpid()}" if locations.in_container else locations.work + ".private"
        if group:
            # An item finds nothing of the one before it.
            self.private += "-" + path.split("/")[-2]
        self._gets: list[tuple[str, bool, Optional[str]]] = []
        self._puts: list[tuple[str, bool]] = []
        self.got: list[GotEntry] = []
        self.put: list[CatalogEntry] = []
        self.left: Optional[LeftRecord] = None
        # What is known before the step's code begins, for the look at what it leaves.
        self._own_files: set[str] = set()
        self._mark: Optional[int] = None
        self._has_written = False
        # Device and inode of each file that was put.
        self._put_inodes: set[tuple[int, int]] = set()

    @property
    def container_is_stopped(self) -> bool:
        """Whether its container was asked to stop since its child was started, be it after the child's end."""
        return self._child is not None and self._child.container_is_stopped

    def run(self) -> int:
        """Runs the attempt and writes its records; returns its exit code.

        Raises:
            RuntimeFault: the attempt was begun before, or its output can't be written. StoreFault: the catalog failed.
            OSError: a record or the work folder can't be written.
        """
        started = records.now()
        if self.folder:
            os.makedirs(self.folder, exist_ok=True)
        else:
            self.folder = _make_next_folder(self.run_folder, self.path)
        recorded = records.read_end(os.path.join(self.folder, END_RECORD))
        if recorded is not None:
            return self._repeat(recorded)
        if os.path.exists(os.path.join(self.folder, BEGIN_RECORD)):
            raise RuntimeFault(
                f"{self.folder} was begun before, in a container that was deleted: an attempt is never run twice"
            )
        self._enter_work_folder()
        environment = self._environment()
        begin = begin_record.begin_record(started, self.locations, self._command(), environment)
        if self.group:
            begin["group"] = self.group
        records.write(os.path.join(self.folder, BEGIN_RECORD), begin)
        kills = cgroup.memory_kills() if self.locations.in_container else 0
        task = self._task(self.scope)
        if self.plan.is_of_exit(self.path):
            # Only the steps of on_exit pay for this import.
            from .run_ending import run_ending

            self._reader.ending = run_ending(self.plan, self.locations, self.run_folder)
        try:
            self._fill_keys(task)
            self._replace_links_to_put()
            self._get_files()
            outcome = self._run_child(task, environment)
        except BadKey as error:
            outcome = AttemptOutcome(1, str(error))
        # The child reports them as well, unless it was killed.
        outcome.inputs = {**task.inputs, **(outcome.inputs or {})}
        if self.locations.in_container and cgroup.memory_kills() > kills:
            outcome.add_memory_kill(cgroup.limits()["memory"])
        outcome.explain()
        if outcome.fault:
            raise RuntimeFault(outcome.fault)
        self._put_files(outcome)
        left = self._look_for_files(outcome, environment)
        inputs_digest = self._digest_inputs(outcome)
        end = end_record(started, outcome, inputs_digest, self.got, self.put, left, self.redactor)
        self.left = end.get("left")
        publish_values(self.folder, end)
        if outcome.exit_code == 0 and self.step.get("emits"):
            self._emit(end, environment)
        records.write(os.path.join(self.folder, END_RECORD), end)
        if outcome.exit_code == 0:
            try:
                self._record_reduced(end, environment)
            except (OSError, ValueError, StoreFault, UnsuitableValue):
                # The step has succeeded, whatever becomes of what is only to be looked at.
                pass
        if end.get("reason"):
            leave_message(end["reason"])
        elif self.left is not None and self.locations.in_container and not self.group:
            leave_message(left_message([self.left]))
        return outcome.exit_code

    def _repeat(self, recorded: EndRecord) -> int:
        """Gives the engine what end.json holds: Argo makes a pod again that was deleted before it saw the pod's end."""
        leave_message(recorded.get("reason", ""))
        exit_code = recorded["exit_code"]
        if exit_code == 0 and self.step.get("emits"):
            self._enter_work_folder()
            self._emit(recorded, self._environment())
        return exit_code

    # --- before the child -------------------------------------------------------------------------------------------

    def _enter_work_folder(self) -> None:
        """Enters the step's folder; where the code must not be written in place, a copy of it."""
        locations = self.locations
        work, origin = locations.work, locations.origin
        os.makedirs(self.private, mode=0o700)
        if not locations.in_container:
            files = self._make_plain_folder()
            locations.code = work
        elif self.group or not os.access(work, os.W_OK):
            work = os.path.join(self.private, "work")
            files = list_code(origin)
            make_work_folder(work, origin, files, True)
            locations.code = work
        else:
            files = [(name, False) for name in names_below(work)] if self._looks_for_files else []
        self._own_files = {name for name, is_folder in files if not is_folder}
        locations.work = work
        os.chdir(work)
        rewritten = os.path.join(locations.run, REWRITTEN_FILE)
        if os.path.exists(rewritten):
            for path, text in load_json(rewritten).items():
                write_file(work, path, text)
            self._has_written = True

    def _fill_keys(self, task: child.TaskRunner) -> None:
        """Puts values in place of the names in the step's keys. Those values count as inputs.

        Raises:
            BadKey: a name has no value, or one that can't be in a key, or a key leads out of the folder.
        """

        def filled(key: str) -> tuple[str, bool]:
            if "{" not in key and "}" not in key:
                return key, False
            from ..shared.keys import fill_key

            text, is_name = fill_key(key, lambda name: task.text_in_key(key, name))
            check_key(text)
            return text, is_name

        catalog = self.step["catalog"]
        self._gets = [(*filled(request["key"]), request["step"]) for request in catalog["get"]]
        self._puts = [filled(key) for key in catalog["put"]]

    def _make_plain_folder(self) -> list[tuple[str, bool]]:
        """Makes a plain process's folder, and its mounts.

        Returns:
            the project's files that it has, each with whether it is a folder.

        Raises:
            RuntimeFault: a mount that the client could make can't be made now.
        """
        locations = self.locations
        work, origin = locations.work, locations.origin
        document = load_json(os.path.join(locations.run, CODE_FILE))
        files: list[tuple[str, bool]] = document["files"]
        overlay = ""
        if locations.overlay:
            make_upper(work + UPPER, origin, files, document["hidden"])
            overlay = work
        else:
            make_work_folder(work, origin, files, False)
        if not (locations.overlay or locations.mounts):
            return files
        # Only here: containers don't pay for this import.
        from .mounts import MountRefused, mount_all

        scratch = os.path.join(self.private, "mounts")
        os.mkdir(scratch)
        try:
            rows = self.settings["volumes"]
            read_only = [
                row["mount_path"] for row in rows if row.get("read_only") and row["mount_path"] in locations.mounts
            ]
            mount_all(locations.mounts, overlay, origin, scratch, read_only)
        except MountRefused as error:
            raise RuntimeFault(f"the step's mounts can't be made: {error}") from None
        # Of an overlay, the document has only what is copied.
        return [(name, False) for name in names_below(work)] if overlay and self._looks_for_files else files

    def _replace_links_to_put(self) -> None:
        """Makes copies of the links to files that the step puts: the step writes to those, not to the project's own."""
        files = self._files()
        for key, is_name in self._puts:
            try:
                pairs = files.to_put(key, is_name)
            except BadKey:
                continue
            for _, path in pairs:
                if os.path.islink(path) and os.path.realpath(path).startswith(os.path.realpath(self.locations.origin)):
                    replace_link(path)

    def _environment(self) -> dict[str, str]:
        indices = loop_indices(self.plan, self.path)
        return user_environment(self.locations, self.settings, indices, self.secrets, self.private)

    def _files(self) -> StepFiles:
        folder = os.path.normpath(os.path.join(self.locations.work, self.data_folder))
        return StepFiles(folder, [self.locations.work, self.locations.origin])

    def _get_files(self) -> None:
        files = self._files()
        for key, is_name, step in self._gets:
            for entry, source in self.scope.files(key, step, is_name):
                target = files.target(entry["name"])
                if not is_empty_folder(entry["name"]):
                    self.store.get_file(entry["sha256"], target, entry.get("executable", False))
                self.got.append({**entry, "from": source})

    # --- the child --------------------------------------------------------------------------------------------------

    def _task(self, scope: Scope) -> child.TaskRunner:
        roots = self.plan.document["import_roots"]
        return child.TaskRunner(
            self.step,
            roots,
            scope,
            self.store,
            self.locations,
            self.redactor,
            self.private,
            self.data_folder,
            self.folder,
        )

    def _run_child(self, task: child.TaskRunner, environment: dict[str, str]) -> AttemptOutcome:
        output = Output(os.path.join(self.folder, OUTPUT_FILE), self.redactor)
        if self._looks_for_files:
            # Copies of the project's files have the times of those, so they are known to be older.
            self._mark = make_mark(self.locations.work, self._has_written or bool(self.got))
        witness = Witness() if self.locations.in_container and os.getpid() != 1 else None
        client = 0 if self.gated else None
        parent = None if self.locations.in_container else os.getppid()
        terminal = None
        if self.locations.terminal is not None:
            # Only here: other steps don't pay for this import.
            from .terminal import Terminal

            terminal = Terminal(self.locations.terminal, output)
        channel = terminal.channel if terminal is not None else None
        self._child = Child(
            lambda result: child.run(task, environment, result, channel), output, client, parent, witness, terminal
        )
        outcome = self._child.wait(self.settings["time_limit"], self.settings["grace_period"])
        output.close()
        if output.fault is not None:
            outcome.fault = f"{OUTPUT_FILE} can't be written: {output.fault}"
        report, _, exports = bytes(self._child.result).partition(b"\n")
        outcome.add_report(report)
        if self._runs_shell:
            outcome.add_shell_error(output.tail, self.step.get("shell", "sh"))
        if outcome.exit_code == 0:
            self._check_returns(task, outcome, exports)
        return outcome

    def _check_returns(self, task: child.TaskRunner, outcome: AttemptOutcome, exports: bytes) -> None:
        """Takes a shell step's returns, and fails a step that ended with 0 and did not return."""
        if self._runs_shell:
            try:
                outcome.returns = task.store_exports(exports)
            except (child.TaskFailure, BadValue) as error:
                outcome.fail(1, str(error))
        elif not isinstance(outcome.returns, dict):
            outcome.fail(1, "the process ended with 0 before the function returned (os._exit or exec?)")

    # --- after the child --------------------------------------------------------------------------------------------

    def _put_files(self, outcome: AttemptOutcome) -> None:
        """Puts what the step declares; of a step that failed, what it wrote of that."""
        files = self._files()
        copy = self.step["catalog"]["store_copy"]
        entries: dict[str, CatalogEntry] = {}
        for key, is_name in self._puts:
            try:
                for name, path in files.to_put(key, is_name):
                    entry = self.store.put_file(os.devnull if is_empty_folder(name) else path, copy)
                    entries[name] = {"name": name, "sha256": entry["sha256"], "size": entry["size"]}
                    if is_empty_folder(name):
                        continue
                    status = os.stat(path)
                    self._put_inodes.add((status.st_dev, status.st_ino))
                    if status.st_mode & stat.S_IXUSR:
                        entries[name]["executable"] = True
            except (BadKey, OSError) as error:
                if outcome.exit_code == 0:
                    reason = str(error) if isinstance(error, BadKey) else f"{key} can't be read: {error.strerror}"
                    outcome.fail(1, reason)
        self.put = [entries[name] for name in sorted(entries)]

    def _look_for_files(self, outcome: AttemptOutcome, environment: dict[str, str]) -> Optional[LeftRecord]:
        """What the step left and nobody put; None also where its code did not begin."""
        if self._mark is None:
            return None
        work, homes = self.locations.work, [environment.get(name, "") for name in ("HOME", "TMPDIR")]
        try:
            return left_files(
                work,
                self._mark,
                self._own_files,
                {os.path.normpath(os.path.join(self.data_folder, entry["name"])) for entry in self.got},
                self._put_inodes,
                without=[path for path in homes if path],
                ignore=self.plan.document["stores"].get("ignore", ()),
                seconds=MOST_SECONDS if outcome.ending is None else MOST_SECONDS_STOPPED,
                layered=self.locations.in_container and work == self.locations.origin and is_layered(work),
            )
        except Exception:
            # However odd the folder is: the step has ended as it has, whatever can be said of its files.
            return None

    def _emit(self, record: EndRecord, environment: dict[str, str]) -> None:
        """Computes what the composites after this step need to know before they start."""
        reader = RecordReader(self.run_folder, {self.path: records.with_places(record, self.folder)})
        task = self._task(Scope(self.plan, reader, self.path))
        controls = Controls(
            self.plan, reader, lambda reducer, items: child.reduce_in_fork(task, environment, reducer, items)
        )
        values, files = controls.of_emissions(self.step["emits"], self.path)
        record["controls"] = values
        if self.locations.in_container:
            write_control_files(files)

    def _command(self) -> Union[str, FunctionRow, None]:
        """What the step runs, for its records."""
        if self._gives_patch:
            import hashlib

            return f"a patch, sha256:{hashlib.sha256(records.encode({'steps': [self.step]})).hexdigest()}"
        if "shell" in self.step:
            options = " ".join(["", *STRICT]) if self.step.get("strict") else ""
            return f"{self.step['shell']}{options} -c {self.step['command']}"
        return self.step.get("command") or self.step.get("function")

    def _record_reduced(self, end: EndRecord, environment: dict[str, str]) -> None:
        """Records what functions make of the values of all items of a map, if this item was the last to give one.

        Whoever takes such a value applies the function itself. This is for those who only look at the run.
        """
        if not any(isinstance(segment.row.get("reducer"), dict) for segment in self.plan.trail(self.path) or ()):
            return
        known = RecordReader(self.run_folder, {self.path: records.with_places(end, self.folder)})
        task = self._task(Scope(self.plan, known, self.path))
        reduced: dict[str, StoredValue] = {}
        for stored in Scope(self.plan, known, self.path, whole=True).for_functions(end["returns"]):
            value = child.reduced_value(task, environment, stored)
            if value is not None:
                reduced[value_digest(stored)] = value
        if reduced:
            record: ReducedRecord = {"version": RECORD_VERSION, "reduced": reduced}
            records.write(os.path.join(self.folder, REDUCED_RECORD), record)

    def _digest_inputs(self, outcome: AttemptOutcome) -> str:
        image = records.read(self.locations.image_file) if self.locations.image_file else None
        return digest_inputs(image, self._command(), self.settings["environment"], outcome.inputs or {}, self.got)


def _make_next_folder(run_folder: str, path: str) -> str:
    """Makes the folder of the first free attempt number, exclusively: of two attempts at once, each gets its own."""
    number = max(layout.attempts(run_folder, path), default=0) + 1
    while True:
        folder = layout.attempt_folder(run_folder, path, number)
        try:
            os.makedirs(folder)
            return folder
        except FileExistsError:
            number += 1
