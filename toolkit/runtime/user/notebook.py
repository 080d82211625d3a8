"""Runs a notebook step: parameters into a new cell, the cells by a kernel, and what came of it out of the kernel again.

The kernel is a process of the child's own group, so that whatever ends the child ends it too. nbclient, nbformat and ipykernel
are the user's: they must be in the image, and are imported here alone.
"""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys

from ..shared.catalog import executed_name
from ..shared.protocol import LARGE_VALUE
from . import child, conversion, imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

NEEDED = ("nbclient", "nbformat", "ipykernel")
PARAMETERS_TAG = "parameters"
INJECTED_TAG = "injected-parameters"
"""Of the cell that is put in; a cell that has it already, from another run, is replaced."""
START_LIMIT = 300.0
"""Seconds within which the kernel must answer for the first time."""
SHUTDOWN_LIMIT = 5.0
"""Seconds that the kernel has for its own end (atexit functions) after the last cell."""
_VARIABLES = "__import__('IPython').get_ipython().user_ns"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_LONGEST_SOCKET = 80
"""Characters; a Unix socket's path has at most 107, and a number follows."""


def run(step: child.TaskRunner, environment: dict[str, str], document: dict[str, Any]) -> int:
    """Runs the step's notebook and fills in what it returned, or how it failed; returns the exit code.

    Raises:
        Failed: it can't be run, or a return is missing. SystemExit: a cell left by it. StoreFault: the catalog failed.
    """
    _find_libraries()
    path = os.path.join(step.locations.work, step.step["command"])
    notebook = _read(path, step.step["command"])
    given = _Parameters(step)
    _inject(notebook, given)
    target = os.path.normpath(os.path.join(step.locations.work, step.data_folder, executed_name(path)))
    session = _Session(step, notebook, environment, given.folder)
    try:
        failure = session.run()
    finally:
        _write(step, notebook, target)
    if session.terminated:
        # As a python step that the signal reaches.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    if failure is not None and not failure.name:
        return _dead(session.kernel_code(), document)
    if failure is not None:
        return _fail(step, failure, document)
    document["returns"] = _read_returns(step, given.folder)
    return 0


def _find_libraries() -> None:
    util = imports.standard_module("importlib.util")
    # The runtime has cut the image's PYTHONPATH off its own; here these may come from it.
    theirs = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path += [entry for entry in theirs if entry not in sys.path]
    missing = [name for name in NEEDED if util.find_spec(name) is None]
    if missing:
        raise child.TaskFailure(
            f"a notebook step needs {', '.join(NEEDED)}, and this image is without {', '.join(missing)}: "
            "add them to the project's requirements"
        )


def _read(path: str, command: str) -> Any:
    nbformat = imports.standard_module("nbformat")
    if not os.path.isfile(path):
        raise child.TaskFailure(f"there is no notebook {command} (does .dockerignore leave it out?)")
    try:
        with open(path, encoding="utf-8") as file:
            notebook = nbformat.read(file, as_version=4)
    except Exception as error:
        raise child.TaskFailure(f"{command} is no notebook: {error}") from None
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    if language.lower() != "python":
        raise child.TaskFailure(f"the notebook {command} is written in {language}, and only Python can be run")
    return notebook


# --- parameters -------------------------------------------------------------------------------------------------------


def names_of(source: str) -> list[str]:
    """The names that a parameters cell assigns at its top level, in order.

    Raises:
        SyntaxError: it is no Python.
    """
    # Lines for IPython alone can't be parsed, and assign nothing.
    plain = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    found: list[str] = []
    for node in ast.parse(plain).body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = list(node.targets)
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            found += [one.id for one in ast.walk(target) if isinstance(one, ast.Name)]
    return list(dict.fromkeys(found))


def _find_tagged(notebook: Any, tag: str) -> Optional[int]:
    for position, cell in enumerate(notebook.cells):
        if tag in cell.metadata.get("tags", ()):
            return position
    return None


class _Parameters:
    """What is handed to the kernel: small JSON data as text of a cell, anything else in a file.

    Attributes:
        folder: the attempt's own, for those files. cell: the cell's text.
    """

    def __init__(self, step: child.TaskRunner) -> None:
        self._step = step
        self.folder = os.path.join(step.private, "kernel")
        os.makedirs(os.path.join(self.folder, "given"), mode=0o700)
        self.cell = ""

    def take(self, names: list[str]) -> None:
        lines = []
        for name in names:
            stored = self._step.take_stored(name)
            if stored is None:
                continue
            if stored["kind"] == "object":
                # Loaded by the kernel alone: it may be of a module that only imports there.
                self._write(name, "pickle", self._step.store.get_bytes(stored["sha256"]))
                lines.append(f"# {name} is an object: {stored.get('type', 'pickled')}")
                continue
            value = self._step.loaded(stored)
            try:
                conversion.as_json(name, value)
            except conversion.BadValue:
                data, kind = conversion.as_object(name, value)
                self._write(name, "pickle", data)
                lines.append(f"# {name} is an object: {kind}")
                continue
            if len(repr(value)) <= LARGE_VALUE:
                lines.append(f"{name} = {value!r}")
            else:
                self._write(name, "json", json.dumps(value).encode("ascii"))
                lines.append(f"# {name} is larger than {LARGE_VALUE // 1024} kB")
        self.cell = "\n".join(lines)

    def _write(self, name: str, suffix: str, data: bytes) -> None:
        with open(os.path.join(self.folder, "given", f"{name}.{suffix}"), "wb") as file:
            file.write(data)


def _inject(notebook: Any, given: _Parameters) -> None:
    """Puts the parameters into a cell after the one that is tagged ``parameters``, else at the top."""
    before = _find_tagged(notebook, INJECTED_TAG)
    if before is not None:
        del notebook.cells[before]
    place = _find_tagged(notebook, PARAMETERS_TAG)
    names: list[str] = []
    if place is not None:
        try:
            names = names_of(notebook.cells[place].source)
        except SyntaxError as error:
            raise child.TaskFailure(
                f"the cell tagged parameters can't be read: {error.msg} in line {error.lineno}"
            ) from None
    given.take(list(dict.fromkeys([*names, *given._step.step["bind"]])))
    if not given.cell:
        return
    cell = imports.standard_module("nbformat.v4").new_code_cell(given.cell, metadata={"tags": [INJECTED_TAG]})
    if (notebook.nbformat, notebook.nbformat_minor) >= (4, 5):
        # Not a random one: the same run makes the same notebook.
        cell["id"] = INJECTED_TAG
    else:
        cell.pop("id", None)
    notebook.cells.insert(0 if place is None else place + 1, cell)


# --- the kernel -------------------------------------------------------------------------------------------------------


class _Failure:
    """An exception that a cell, or our own code in the kernel, raised; or that there is no kernel any more."""

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
        """Executes all cells, and takes the returns where they all went well."""
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
        talk = client.kc
        talk.load_connection_file(connection)
        talk.start_channels()
        try:
            await _now(talk.wait_for_ready(timeout=START_LIMIT))
        except RuntimeError as error:
            if self._kernel is not None and self._kernel.poll() is not None:
                raise child.TaskFailure(
                    f"the notebook's kernel ended as it started, with exit code {self.kernel_code()}"
                ) from None
            raise child.TaskFailure(f"the notebook's kernel does not answer: {error}") from None
        talk.allow_stdin = False
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
        # Of the user's own Jupyter and IPython nothing is read: the same notebook, the same run.
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
        # What other programs write for it goes to the step's output directly: a kernel that passes it on loses what comes late.
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
        """Calls a function of kernel.py, whatever the notebook has given our names and those of built-in functions to."""
        return await self._silently(client, f"__import__('_toolkit_runtime.user.kernel').user.kernel.{call}")

    async def _silently(self, client: Any, code: str) -> Optional[_Failure]:
        """Runs code of ours in the kernel, that the notebook shows nothing of."""
        message = await _now(client.kc.execute(code, silent=True, store_history=False))
        reply = await client.async_wait_for_reply(message)
        content = reply["content"] if reply is not None else {}
        if content.get("status") == "error":
            return _Failure(content["ename"], content["evalue"], _plain("\n".join(content["traceback"])))
        return None

    async def _end(self, client: Any) -> None:
        """Lets the kernel end as an interpreter ends."""
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
        """How the kernel's process ended, as a shell says it; None while it has not."""
        if self._kernel is None:
            return None
        code = self._kernel.poll()
        return None if code is None else code if code >= 0 else 128 - code

    def _kill(self) -> None:
        if self._kernel is not None and self._kernel.poll() is None:
            self._kernel.kill()
            self._kernel.wait()


async def _now(given: Any) -> Any:
    """The result of what one version of a library answers at once and another later."""
    return await given if hasattr(given, "__await__") else given


def _client(notebook: Any, kernel: Any) -> Any:
    """nbclient's client, that passes the cells' results on as they come; its kernel lives as long as our process of it does."""
    asynchronous = imports.standard_module("jupyter_client.asynchronous")
    nbclient = imports.standard_module("nbclient")

    class Talk(asynchronous.AsyncKernelClient):  # type: ignore[misc, name-defined]
        async def is_alive(self) -> bool:
            # A heartbeat is missed on a busy machine too.
            return kernel.poll() is None

        _async_is_alive = is_alive

    class Client(nbclient.NotebookClient):  # type: ignore[misc, name-defined]
        def output(self, outs: Any, message: Any, *rest: Any) -> Any:
            show(message["msg_type"], message["content"])
            return super().output(outs, message, *rest)

    client = Client(notebook, timeout=None, record_timing=False, allow_errors=False)
    client.kc = Talk()
    client.reset_execution_trackers()
    return client


def show(kind: str, content: dict[str, Any]) -> None:
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
    except exceptions.CellExecutionError:
        for output in cell.outputs:
            if output.output_type == "error":
                return _Failure(output.ename, output.evalue, _plain("\n".join(output.traceback)))
        raise
    return None


def _plain(text: str) -> str:
    return _ANSI.sub("", text)


# --- afterwards -------------------------------------------------------------------------------------------------------


def _dead(kernel_code: Optional[int], document: dict[str, Any]) -> int:
    document["reason"] = f"the notebook's kernel ended before the notebook did, with exit code {kernel_code}"
    if kernel_code is not None and kernel_code > 128:
        document["reason"] = f"the notebook's kernel was killed by signal {kernel_code - 128}"
    print(document["reason"], file=sys.stderr)
    return kernel_code or 1


def _fail(step: child.TaskRunner, failure: _Failure, document: dict[str, Any]) -> int:
    if failure.name == "SystemExit":
        text = failure.message
        raise SystemExit(int(text) if re.fullmatch(r"-?\d+", text) else None if text in ("", "None") else text)
    document["exception"] = {
        "type": failure.name,
        "message": step.redactor.text(failure.message[:10_000]),
        "traceback": step.redactor.text(failure.traceback[:100_000]),
    }
    return 130 if failure.name == "KeyboardInterrupt" else 1


def _write(step: child.TaskRunner, notebook: Any, target: str) -> None:
    """Keeps the notebook as far as it was executed, without secrets."""
    for cell in notebook.cells:
        cell["source"] = step.redactor.text(cell["source"])
        if cell.get("outputs"):
            cell["outputs"] = [_redact_output(step, one) for one in cell["outputs"]]
    text = imports.standard_module("nbformat").writes(notebook)
    temporary = f"{target}.{os.getpid()}.tmp"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text if text.endswith("\n") else text + "\n")
    os.replace(temporary, target)


def _redact_output(step: child.TaskRunner, output: Any) -> Any:
    kind = output["output_type"]

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return step.redactor.text(value)
        if isinstance(value, dict):
            return type(value)({key: plain(one) for key, one in value.items()})
        return [plain(one) for one in value] if isinstance(value, list) else value

    found = plain(output)
    found["output_type"] = kind
    if kind == "stream":
        found["name"] = output["name"]
    return found


def _read_returns(step: child.TaskRunner, folder: str) -> dict[str, dict[str, Any]]:
    """The declared returns, as the kernel handed them over."""
    with open(os.path.join(folder, "returned.json"), encoding="ascii") as file:
        answers = json.load(file)
    found: dict[str, dict[str, Any]] = {}
    for one in step.step["returns"]:
        name, answer = one["name"], answers[one["name"]]
        if "refused" in answer:
            raise child.TaskFailure(answer["refused"])
        if "value" in answer:
            found.update(step.stored({name: answer["value"]}))
            continue
        with open(os.path.join(folder, f"{name}.returned"), "rb") as data:
            found[name] = step.stored_object(name, data.read(), answer["type"])
    return found
