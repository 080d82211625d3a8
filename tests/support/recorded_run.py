"""A run's folder, written directly, with the records that the runtime and a client would have made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from toolkit.config.settings import Build, CatalogStore, Config, Executor, RunLogStore, Secrets
from toolkit.model.pipeline import Pipeline, Return, Task
from toolkit.plan.planner import plan
from toolkit.report.contract import RunDocument
from toolkit.report.view import view
from toolkit.runtime.shared import layout, records
from toolkit.store import writer as store
from toolkit.store.reader import RunLog

CONFIG = Config(Executor(), RunLogStore(log_folder="/mnt/log"), CatalogStore(), Secrets(), Build())
STARTED = "2026-01-01T00:00:00.000Z"
ENDED = "2026-01-01T00:00:01.500Z"


def task(name: str, *returns: str, **options: Any) -> Task:
    """A shell step."""
    return Task(name, "shell", command="true", returns=tuple(Return(declared) for declared in returns), **options)


class RecordedRun:
    """A run of a pipeline in a run log of its own.

    Args:
        active: whether a client drives the run while it has no end.
    """

    def __init__(
        self,
        log_folder: Path,
        pipeline: Pipeline,
        parameters: dict[str, Any] | None = None,
        controls: dict[str, Any] | None = None,
        active: bool = False,
        run_id: str = "run",
        **record: Any,
    ) -> None:
        made = plan(pipeline, CONFIG, (".",))
        log_folder.mkdir(exist_ok=True)
        self.log = RunLog(log_folder, lambda _: active)
        self.id = run_id
        self.folder = store.create_run(
            log_folder,
            run_id,
            records.checked_run(
                {
                    "version": 1,
                    "run_id": run_id,
                    "pipeline": "p",
                    "environment": "process",
                    "context": {},
                    "without_effect": [],
                    "tag": "",
                    "started": STARTED,
                    "image": None,
                    "parameters": parameters or {},
                    "plan_hash": made.hash(),
                    "plan": made.to_json().decode(),
                    "controls": controls or {},
                    "driver": {"host": "here"},
                    **record,
                }
            ),
            lambda _: None,
        )

    def attempt(
        self,
        path: str,
        status: str | None = "succeeded",
        number: int = 1,
        returns: dict[str, Any] | None = None,
        inputs: dict[str, tuple[str, str]] | None = None,
        controls: dict[str, Any] | None = None,
        group: str = "",
        input_hash: str = "",
        **end: Any,
    ) -> None:
        """Records an attempt of the task at an instance path. With the status None, it still runs.

        Args:
            inputs: for each input, the step that returned it and its name there.
            input_hash: the hash of each input.
        """
        folder = layout.attempt_folder(str(self.folder), path, number)
        Path(folder).mkdir(parents=True, exist_ok=True)
        records.write(f"{folder}/begin.json", self._begin(path, number, group))
        Path(folder, "output.log").write_text(f"{path} {number}\n")
        if status is None:
            return
        code = {"succeeded": 0, "cancelled": 143}.get(status, 1)
        record: dict[str, Any] = {
            "version": 1,
            "started": STARTED,
            "ended": ENDED,
            "status": status,
            "exit_code": code,
            "inputs": {
                name: {"from": source, "name": there, "kind": "json", "sha256": input_hash}
                for name, (source, there) in (inputs or {}).items()
            },
            "inputs_digest": "",
            "returns": {name: {"kind": "json", "value": value} for name, value in (returns or {}).items()},
            "catalog": {"get": [], "put": []},
        }
        if controls is not None:
            record["controls"] = controls
        if code:
            record["reason"] = "cancelled" if status == "cancelled" else "boom"
        records.write(f"{folder}/end.json", {**record, **end})
        if not group:
            store.write_engine(
                self.folder,
                path,
                number,
                {"exit_code": code, "out_of_memory": False, "cancelled": status == "cancelled"},
            )

    def forget(self, path: str) -> None:
        """Removes all records of a task."""
        shutil.rmtree(layout.step_folder(str(self.folder), path))

    def _begin(self, path: str, number: int, group: str) -> dict[str, Any]:
        begin: dict[str, Any] = {
            "version": 1,
            "started": STARTED,
            "image": None,
            "argv": ["python3", "/opt/toolkit/runtime/main.py", "2", self.id, group or path, str(number)],
            "command": "true",
            "environment": ["HOME"],
            "user": {"uid": 1000, "gid": 1000, "groups": []},
            "umask": 2,
            "working_folder": "/workspace",
            "limits": {"memory": None, "cpu": None},
            "mounts": [],
            "read_only_root": False,
            "privileges": {"seccomp": "2"},
            "python": "3.11.2",
            "machine": "x86_64",
            "hostname": self.id,
        }
        if group:
            # Each item has its own folder, which holds links.
            begin.update(group=group, working_folder=f"/tmp/toolkit-7-{path.split('/')[-2]}/work")
        return begin

    def end(self, status: str = "succeeded", reason: str = "") -> None:
        """Records the end of the run."""
        end = records.checked_run_end({"version": 1, "ended": ENDED, "status": status, "reason": reason})
        store.write_end(self.folder, end)

    def view(self) -> RunDocument:
        """What ``toolkit show --json`` prints."""
        return view(self.log, self.log.run(self.id))

    def statuses(self) -> dict[str, str]:
        """The status of each row, by its path, in order."""
        return {row["path"]: row["status"] for row in self.view()["steps"]}
