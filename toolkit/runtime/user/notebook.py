"""Notebook tasks: the parameters go into a new cell, a kernel runs the cells, and the returns come from the kernel.

The kernel is a process of the child's own group, so what ends the child ends the kernel too. nbclient, nbformat and ipykernel
belong to the user: the image must have them, and only this module imports them.
"""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys

from ..shared.causes import killed_by
from ..shared.notebooks import executed_name, html_name, packages_for
from ..shared.parameters_cell import PARAMETERS_TAG, names_of
from ..shared.protocol import LARGE_VALUE, LARGEST_IN_RECORD
from ..shared.values import encode_value
from ..shared.whole_files import write_whole
from . import child, conversion, imports, notebook_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Optional

    from ..shared.documents import StoredValue

INJECTED_TAG = "injected-parameters"
"""The tag of the cell that holds the parameters. A cell that has it already, from another run, is replaced."""
START_LIMIT = 300.0
"""Seconds within which the kernel must answer for the first time."""
SHUTDOWN_LIMIT = 5.0
"""Seconds that the kernel has for its atexit functions after the last cell."""
_VARIABLES = "__import__('IPython').get_ipython().user_ns"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_LONGEST_SOCKET = 80
"""Characters; a Unix socket's path has at most 107, and a number follows."""


def run(step: child.TaskRunner, environment: dict[str, str], report: child.ChildReport) -> int:
    """Runs the step's notebook and adds its returns or its failure to the report; returns the exit code.

    Raises:
        TaskFailure: the notebook can't be run, or a return is missing. SystemExit: a cell raised it.
        StoreFault: the catalog failed.
    """
    command, html = step.step["command"], step.step.get("html", False)
    _find_libraries(packages_for(command, html))
    path = os.path.join(step.locations.work, command)
    try:
        notebook = notebook_file.read_notebook(path, command)
    except notebook_file.NotebookRefusal as refusal:
        raise child.TaskFailure(str(refusal)) from None
    parameters = _Parameters(step)
    _inject(notebook, parameters)
    name = step.step.get("executed") or executed_name(path)
    target = os.path.normpath(os.path.join(step.locations.work, step.data_folder, name))
    session = _Session(step, notebook, environment, parameters.folder)
    try:
        failure = session.run()
    finally:
        _write(step, notebook, target)
        no_page = _write_page(notebook, target) if html else ""
    if session.terminated:
        # The child ends by the signal, as a python step does.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    if failure is not None and not failure.name:
        return _report_dead_kernel(session.kernel_code(), report)
    if failure is not None:
        return _report_failure(step, failure, report)
    report["returns"] = _read_returns(step, parameters.folder)
    if no_page:
        raise child.TaskFailure(no_page)
    return 0


def _find_libraries(needed: tuple[str, ...]) -> None:
    # The runtime took the image's PYTHONPATH off its import path, but the libraries may lie there.
    theirs = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path += [entry for entry in theirs if entry not in sys.path]
    missing = [name for name in needed if not imports.has_library(name)]
    if missing:
        raise child.TaskFailure(
            f"a notebook step needs {', '.join(needed)}, and this image lacks {', '.join(missing)}: "
            "add them to the project's requirements"
        )


# --- parameters -------------------------------------------------------------------------------------------------------


def _find_tagged(notebook: Any, tag: str) -> Optional[int]:
    for position, cell in enumerate(notebook.cells):
        if tag in cell.metadata.get("tags", ()):
            return position
    return None


class _Parameters:
    """The notebook's parameters: small JSON data as text of a cell, and anything else in a file for the kernel.

    Attributes:
        folder: the attempt's own, for those files. cell: the cell's text.
    """

    def __init__(self, step: child.TaskRunner) -> None:
        self.step = step
        self.folder = os.path.join(step.private, "kernel")
        os.makedirs(os.path.join(self.folder, "given"), mode=0o700)
        self.cell = ""

    def take(self, names: Mapping[str, bool]) -> None:
        """Takes those that have a value.

        Args:
            names: each with whether it takes the text that spelled the value.
        """
        lines = []
        for name, is_text in names.items():
            stored = self.step.take(name)
            if stored is None:
                continue
            if stored["kind"] == "object":
                # Only the kernel loads it: its module may be one that can be imported only there.
                self._write(name, "pickle", self.step.store.get_bytes(stored["sha256"]))
                lines.append(f"# {name} is an object: {stored.get('type', 'pickled')}")
                continue
            value = stored["spelling"] if is_text and "spelling" in stored else self.step.value_of(name, stored)
            try:
                value = conversion.as_json(name, value)
                conversion.json_data(name, value)
            except conversion.BadValue:
                data, kind = conversion.as_object(name, value)
                self._write(name, "pickle", data)
                lines.append(f"# {name} is an object: {kind}")
                continue
            line = f"{name} = {value!r}"
            if len(line) <= LARGE_VALUE and _is_python(line):
                lines.append(line)
            else:
                self._write(name, "json", encode_value(value))
                lines.append(f"# {name} is larger than {LARGE_VALUE // 1024} kB, or nested deep")
        self.cell = "\n".join(lines)

    def _write(self, name: str, suffix: str, data: bytes) -> None:
        with open(os.path.join(self.folder, "given", f"{name}.{suffix}"), "wb") as file:
            file.write(data)


def _is_python(line: str) -> bool:
    """Whether Python reads the line; it takes fewer levels of brackets than JSON does."""
    try:
        ast.parse(line)
    except (SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _inject(notebook: Any, parameters: _Parameters) -> None:
    """Puts the parameters into a new cell after the one that is tagged ``parameters``, or else at the top."""
    injected = _find_tagged(notebook, INJECTED_TAG)
    if injected is not None:
        del notebook.cells[injected]
    tagged = _find_tagged(notebook, PARAMETERS_TAG)
    names: dict[str, bool] = {}
    if tagged is not None:
        try:
            names = names_of(notebook.cells[tagged].source)
        except notebook_file.NOT_PYTHON as error:
            raise child.TaskFailure(notebook_file.bad_parameters_cell(parameters.step.step["command"], error)) from None
    bound = parameters.step.step["bind"]
    parameters.take({**names, **{name: False for name in bound if name not in names}})
    if not parameters.cell:
        return
    cell = imports.standard_module("nbformat.v4").new_code_cell(parameters.cell, metadata={"tags": [INJECTED_TAG]})
    if (notebook.nbformat, notebook.nbformat_minor) >= (4, 5):
        # nbformat would make up a random id, but the same run makes the same notebook.
        cell["id"] = INJECTED_TAG
    else:
        cell.pop("id", None)
    notebook.cells.insert(0 if tagged is None else tagged + 1, cell)


# --- the kernel -------------------------------------------------------------------------------------------------------


class _Failure:
    """An exception that a cell or our own code in the kernel raised. Without a name it says that the kernel has ended."""

    def __init__(self, name: str, message: str, traceback: str) -> None:
        self.name = name
        self.message = message
        self.traceback = traceback


class _Session:
    """One kernel, from its start to its end."""

    def __init__(self, step: child.TaskRunner, notebook: Any, environment: dict[str, str], folder: str) -> None:
        self._step = step
        self._notebook = notebook
        self._environment = environment
        self._folder = folder
        self._kernel: Optional[subprocess.Popen[bytes]] = None
        self.terminated = False

    def run(self) -> Optional[_Failure]:
        """Executes all cells and, where none failed, has the kernel write the returns; returns the failure, if there is one."""
        asyncio = imports.standard_module("asyncio")
        try:
            failure: Optional[_Failure] = asyncio.run(self._run(asyncio))
            return failure
        except Exception as error:
            if self.terminated or type(error).__name__ == "DeadKernelError":
                return _Failure("", "", "")
            raise
        finally:
            self._kill()

    async def _run(self, asyncio: Any) -> Optional[_Failure]:
        task = asyncio.current_task()

        def on_term() -> None:
            self.terminated = True
            task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_term)
        try:
            return await self._execute()
        except asyncio.CancelledError:
            return _Failure("", "", "")

    async def _execute(self) -> Optional[_Failure]:
        connection = self._start()
        client = _client(self._notebook, self._kernel)
        channels = client.kc
        channels.load_connection_file(connection)
        channels.start_channels()
        try:
            await _result_of(channels.wait_for_ready(timeout=START_LIMIT))
        except RuntimeError as error:
            if self._kernel is not None and self._kernel.poll() is not None:
                raise child.TaskFailure(
                    f"the notebook's kernel ended as it started, with exit code {self.kernel_code()}"
                ) from None
            raise child.TaskFailure(f"the notebook's kernel does not answer: {error}") from None
        channels.allow_stdin = False
        runtime = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        begin = (
            "import sys\npackage = type(sys)('_toolkit_runtime')\n"
            f"package.__path__ = [{runtime!r}]\nsys.modules['_toolkit_runtime'] = package\n"
            "from _toolkit_runtime.user import kernel\n"
            f"kernel.begin({self._paths()!r}, {self._step.locations.sdk!r})\n"
        )
        failure = await self._silently(client, f"exec({begin!r}, {{}})")
        for position, cell in enumerate(self._notebook.cells):
            if failure is None and INJECTED_TAG in cell.metadata.get("tags", ()):
                failure = await self._call(client, f"take({_VARIABLES}, {self._folder!r})")
            failure = failure or await _cell(client, cell, position)
        if failure is None:
            declared = self._step.step["returns"]
            failure = await self._call(client, f"give({_VARIABLES}, {self._folder!r}, {declared!r})")
        await self._call(client, "end()")
        await self._end(client)
        return failure

    def _start(self) -> str:
        """Starts the kernel; returns the path of its connection file."""
        connect = imports.standard_module("jupyter_client.connect")
        # The user's own settings of Jupyter and IPython are not read, so that a notebook runs the same everywhere.
        own = {name: os.path.join(self._folder, name.lower()) for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR")}
        own.update(JUPYTER_RUNTIME_DIR=self._folder, IPYTHONDIR=os.path.join(self._folder, "ipython"))
        own.update(PYDEVD_DISABLE_FILE_VALIDATION="1", JPY_PARENT_PID=str(os.getpid()))
        os.environ.update(own)
        socket = os.path.join(self._folder, "k")
        if len(socket) > _LONGEST_SOCKET:
            socket = os.path.relpath(socket, self._step.locations.work)
        file, _ = connect.write_connection_file(
            os.path.join(self._folder, "connection.json"),
            ip=socket,
            transport="ipc",
            key=os.urandom(16).hex().encode("ascii"),
        )
        # Output of programs that a cell starts goes to the step's output directly. The kernel would lose what comes late.
        self._kernel = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ipykernel_launcher",
                "-f",
                file,
                "--HistoryManager.enabled=False",
                "--IPKernelApp.capture_fd_output=False",
            ],
            env={**self._environment, **own},
            cwd=self._step.locations.work,
            stdin=subprocess.DEVNULL,
        )
        return str(file)

    def _paths(self) -> list[str]:
        code = self._step.locations.code
        return [os.path.normpath(os.path.join(code, root)) for root in self._step.roots]

    async def _call(self, client: Any, call: str) -> Optional[_Failure]:
        """Calls a function of kernel.py, even where the notebook has used our names, or those of built-in functions."""
        return await self._silently(client, f"__import__('_toolkit_runtime.user.kernel').user.kernel.{call}")

    async def _silently(self, client: Any, code: str) -> Optional[_Failure]:
        """Runs code of ours in the kernel, which leaves no trace in the notebook."""
        message = await _result_of(client.kc.execute(code, silent=True, store_history=False))
        reply = await client.async_wait_for_reply(message)
        content = reply["content"] if reply is not None else {}
        if content.get("status") == "error":
            return _Failure(content["ename"], content["evalue"], _plain("\n".join(content["traceback"])))
        return None

    async def _end(self, client: Any) -> None:
        """Asks the kernel to end as an interpreter does, and waits for that."""
        assert self._kernel is not None
        client.kc.shutdown()
        try:
            waited = 0.0
            while self._kernel.poll() is None and waited < SHUTDOWN_LIMIT:
                await imports.standard_module("asyncio").sleep(0.05)
                waited += 0.05
        finally:
            client.kc.stop_channels()

    def kernel_code(self) -> Optional[int]:
        """The exit code of the kernel's process as a shell has it; None while the process runs."""
        if self._kernel is None:
            return None
        code = self._kernel.poll()
        return None if code is None else code if code >= 0 else 128 - code

    def _kill(self) -> None:
        if self._kernel is not None and self._kernel.poll() is None:
            self._kernel.kill()
            self._kernel.wait()


async def _result_of(answer: Any) -> Any:
    """A library's answer, which is an awaitable in some versions of the library."""
    return await answer if hasattr(answer, "__await__") else answer


def _client(notebook: Any, kernel: Any) -> Any:
    """nbclient's client. It shows the cells' outputs as they come, and judges by the process whether the kernel is alive."""
    asynchronous = imports.standard_module("jupyter_client.asynchronous")
    nbclient = imports.standard_module("nbclient")

    class KernelChannels(asynchronous.AsyncKernelClient):  # type: ignore[misc, name-defined]
        async def is_alive(self) -> bool:
            # A heartbeat may also be missed because the machine is busy.
            return kernel.poll() is None

        _async_is_alive = is_alive

    class Client(nbclient.NotebookClient):  # type: ignore[misc, name-defined]
        def output(self, outs: Any, message: Any, *rest: Any) -> Any:
            show(message["msg_type"], message["content"])
            return super().output(outs, message, *rest)

    client = Client(notebook, timeout=None, record_timing=False, allow_errors=False)
    client.kc = KernelChannels()
    client.reset_execution_trackers()
    return client


def show(kind: str, content: Mapping[str, Any]) -> None:
    """Writes an output of a cell to the step's own output."""
    if kind == "stream":
        stream = sys.stderr if content["name"] == "stderr" else sys.stdout
        stream.write(content["text"])
        stream.flush()
    elif kind == "error":
        print(_plain("\n".join(content["traceback"])), file=sys.stderr, flush=True)
    else:
        print(content.get("data", {}).get("text/plain", ""), flush=True)


async def _cell(client: Any, cell: Any, position: int) -> Optional[_Failure]:
    exceptions = imports.standard_module("nbclient.exceptions")
    try:
        await client.async_execute_cell(cell, position, execution_count=client.code_cells_executed + 1)
    except exceptions.CellExecutionError as error:
        for output in cell.outputs:
            if output.output_type == "error":
                return _Failure(output.ename, output.evalue, _plain("\n".join(output.traceback)))
        # IPython prints a magic's wrong use as a line of text, and no traceback of it exists.
        return _Failure(error.ename, _plain(error.evalue), f"{error.ename}: {_plain(error.evalue)}")
    return None


def _plain(text: str) -> str:
    return _ANSI.sub("", text)


# --- after the cells --------------------------------------------------------------------------------------------------


def _report_dead_kernel(kernel_code: Optional[int], report: child.ChildReport) -> int:
    report["reason"] = f"the notebook's kernel ended before the notebook did, with exit code {kernel_code}"
    if kernel_code is not None and kernel_code > 128:
        report["reason"] = f"the notebook's kernel was {killed_by(kernel_code - 128)}"
    print(report["reason"], file=sys.stderr)
    return kernel_code or 1


def _report_failure(step: child.TaskRunner, failure: _Failure, report: child.ChildReport) -> int:
    if failure.name == "SystemExit":
        text = failure.message
        raise SystemExit(int(text) if re.fullmatch(r"-?\d+", text) else None if text in ("", "None") else text)
    report["exception"] = {
        "type": failure.name,
        "message": step.redactor.text(failure.message[:10_000]),
        "traceback": step.redactor.text(failure.traceback[:100_000]),
    }
    return 130 if failure.name == "KeyboardInterrupt" else 1


def _write(step: child.TaskRunner, notebook: Any, target: str) -> None:
    """Writes the notebook as far as it was executed, without secrets."""
    for cell in notebook.cells:
        cell["source"] = step.redactor.text(cell["source"])
        if cell.get("outputs"):
            cell["outputs"] = [_redact_output(step, output) for output in cell["outputs"]]
    text: str = imports.standard_module("nbformat").writes(notebook)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    write_whole(target, (text if text.endswith("\n") else text + "\n").encode("utf-8"))


def _write_page(notebook: Any, target: str) -> str:
    """Writes the notebook, which is without secrets, as HTML beside it; returns why it can't, or nothing.

    The notebook itself is written by then, and a failure of its own is told before this one.
    """
    page = html_name(target)
    try:
        if os.path.lexists(page):
            os.remove(page)
        from .notebook_html import to_html

        title = os.path.splitext(os.path.basename(target))[0]
        write_whole(page, to_html(notebook, title).encode("utf-8", "replace"))
    except Exception as error:
        reason = f"nbconvert can't make {os.path.basename(page)}: {notebook_file.reason_of(error)}"
        print(reason, file=sys.stderr, flush=True)
        return reason
    return ""


def _redact_output(step: child.TaskRunner, output: Any) -> Any:
    """An output without secrets. Its type and its stream stay, also where a secret has the same text."""

    def redact(value: Any) -> Any:
        if isinstance(value, str):
            return step.redactor.text(value)
        if isinstance(value, dict):
            return type(value)({key: redact(item) for key, item in value.items()})
        return [redact(item) for item in value] if isinstance(value, list) else value

    redacted = redact(output)
    redacted["output_type"] = output["output_type"]
    if output["output_type"] == "stream":
        redacted["name"] = output["name"]
    return redacted


def _read_returns(step: child.TaskRunner, folder: str) -> dict[str, StoredValue]:
    """The declared returns as the record holds them, out of the files that the kernel has written."""
    with open(os.path.join(folder, "returned.json"), encoding="ascii") as file:
        answers = json.load(file)
    stored: dict[str, StoredValue] = {}
    for declared in step.step["returns"]:
        name = declared["name"]
        answer = answers[name]
        if "refused" in answer:
            raise child.TaskFailure(answer["refused"])
        with open(os.path.join(folder, f"{name}.returned"), "rb") as file:
            data = file.read()
        if declared["kind"] == "object":
            stored[name] = step.store_object(name, data, answer["type"])
        else:
            value = json.loads(data) if len(data) <= LARGEST_IN_RECORD else None
            stored[name] = step.store_json(name, declared["kind"], data, value)
    return stored
