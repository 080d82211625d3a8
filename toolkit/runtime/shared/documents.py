"""The types of all JSON that more than one module reads: the plan, the records of runs and attempts, requests and answers.

For type checkers alone: nothing imports this module when the program runs, so that it costs no start-up::

    TYPE_CHECKING = False
    if TYPE_CHECKING:
        from ..shared.documents import StepRow

A document that was read from a file or from a network gets its type from the one function that checks its shape (``records.py``
names them), and what this program makes itself is written as the type. No cast gives a type. A key that is ``NotRequired``
may be missing, as is any key of a type with ``total=False``; one that may be None says so.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal, Optional, TypedDict, Union

    from typing_extensions import NotRequired, TypeAlias

    # --- values of the user's ---------------------------------------------------------------------------------------

    JsonValue: TypeAlias = object
    """A value of the user's that is JSON data. It is opaque: whoever looks into it asks with isinstance first."""
    Parameters: TypeAlias = Mapping[str, JsonValue]
    """Values of the user's by name: a run's parameters."""
    ControlValues: TypeAlias = Mapping[str, JsonValue]
    """Control values by instance path: a map's count, the label of a conditional's branch, whether a loop runs again, or a
    :class:`ControlError`. Those that are read come from a volume, so each use asks with isinstance."""

    class ControlError(TypedDict):
        """In place of a control value that could not be computed."""

        error: str

    # --- the plan ---------------------------------------------------------------------------------------------------

    StepType: TypeAlias = Literal["task", "stub", "pipeline", "parallel", "map", "conditional", "loop"]
    TaskKind: TypeAlias = Literal["python", "shell", "notebook"]
    ReturnType: TypeAlias = Literal["json", "object", "metric"]

    class FunctionRow(TypedDict):
        """How a function is found again. ``file`` is relative to the root; None is a module that is found by its name."""

        module: str
        qualname: str
        file: Optional[str]

    TypeRow: TypeAlias = Union[str, Mapping[str, object]]
    """The type of an argument, as far as JSON can describe it (``model/argument_types.py``): ``int``, ``{"list": "int"}`` …"""

    class ArgumentRow(TypedDict, total=False):
        """What a description says of an argument. ``annotation`` is a text, where the annotation has no ``type``."""

        type: TypeRow
        annotation: str
        default: JsonValue

    class ParameterRow(ArgumentRow):
        """A parameter that a pipeline declares; without a ``default`` the run has to be given it."""

        name: str
        description: NotRequired[str]
        line: NotRequired[Optional[int]]

    class TakesRow(TypedDict):
        """A function's signature: argument names, those without a default, and whether it has ``**kwargs``.

        ``arguments`` is in descriptions alone, and not in those of older versions. Of a notebook, ``names`` are those that its
        parameters cell assigns.
        """

        names: list[str]
        required: list[str]
        everything: bool
        arguments: NotRequired[Mapping[str, ArgumentRow]]

    class PatchRow(TypedDict, total=False):
        """What a task does instead: a ``command``, or ``returns`` and ``files``, whose contents are in base64, by their keys.

        In the plan, a row that has this without ``returns`` runs the patch's command already.
        """

        command: str
        returns: dict[str, JsonValue]
        files: dict[str, str]

    class BindRow(TypedDict, total=False):
        """Where an argument takes its value: a ``value`` of the pipeline's source, or the parameter ``name``.

        ``step`` is the template path of the step that returns it; empty is the run's own parameters, no key the scope.
        """

        value: JsonValue
        name: str
        step: str

    class ReturnRow(TypedDict):
        name: str
        kind: ReturnType

    class CatalogGetRow(TypedDict):
        """``step`` is the template path of the one step whose files are meant; None is whichever put them last."""

        key: str
        step: Optional[str]

    class CatalogRow(TypedDict):
        get: list[CatalogGetRow]
        put: list[str]
        store_copy: bool

    class StepKeys(TypedDict):
        """What every row of the plan has. ``path`` is the template path."""

        path: str
        type: StepType
        name: str

    class TaskKeys(TypedDict, total=False):
        """What a task's row has beside them; ``emits`` only where there is something, ``takes`` only of a python task.

        ``settings`` is the position in the plan's settings. ``function`` is there in place of ``command`` for a python task.
        ``shell`` is there only where it is not sh, ``strict`` only where it is true (then the shell is bash),
        ``executed`` only where the executed notebook is not named by the notebook, ``html`` only where it is put as HTML, too,
        ``patched`` only of a step that is patched.
        The keys of ``catalog`` may have names of parameters in braces (``keys.py``).
        ``emits`` are pairs of a composite's template path and ``start`` or ``again``.
        """

        kind: TaskKind
        settings: int
        bind: dict[str, BindRow]
        returns: list[ReturnRow]
        secrets: list[str]
        catalog: CatalogRow
        emits: list[list[str]]
        function: FunctionRow
        takes: Optional[TakesRow]
        command: str
        shell: str
        executed: str
        strict: bool
        patched: PatchRow
        html: bool

    class CompositeKeys(TypedDict, total=False):
        """What a composite's row has, as far as it is set (see ``PlannedComposite`` in ``plan/plan.py``).

        ``branches`` are pairs of a label and the path of a scope.
        """

        branches: list[list[str]]
        default: str
        parameter: str
        item: str
        limit: int
        reducer: Union[FunctionRow, str]
        parts: list[str]
        pods: int
        grouped: bool
        as_long_as: str
        source: str

    class StepRow(StepKeys, TaskKeys, CompositeKeys):
        """A row of the plan: ``type`` says which keys it has. ``handler`` is the path of the scope of its on_failure."""

        handler: NotRequired[Optional[str]]
        ends: NotRequired[Literal["success", "failure"]]
        # Whether the step stays failed when its handler has succeeded.
        keep_failure: NotRequired[bool]

    class EndingRecord(TypedDict):
        """How a run has ended, for the steps of its on_exit: its status, and the paths of the steps that failed."""

        status: str
        failed: list[str]

    class ScopeRow(TypedDict):
        """A sequence of steps: their template paths, the position of each, and the positions of those that return or put.

        ``after`` is there only of a graph: for each step the positions of those that have to end before it starts.
        """

        steps: list[str]
        positions: dict[str, int]
        returns: dict[str, list[int]]
        puts: list[int]
        after: NotRequired[dict[str, list[int]]]

    class StoresRow(TypedDict):
        """Absolute paths as containers see them, and the folder that catalog keys are relative to. No catalog stores nothing.

        ``ignore`` are patterns of files that a step may leave, and is there if there are any.
        """

        run_log: str
        catalog: Optional[str]
        data_folder: str
        ignore: NotRequired[list[str]]

    class VolumeRow(TypedDict):
        """``read_only`` is there only where it is true."""

        name: str
        mount_path: str
        read_only: NotRequired[Literal[True]]

    class SecretRow(TypedDict):
        environment_variable: str
        secret_name: str
        secret_key: str

    class ResourceListRow(TypedDict):
        cpu: Optional[str]
        memory: Optional[str]
        gpu: Optional[int]

    class ResourcesRow(TypedDict):
        limits: ResourceListRow
        requests: ResourceListRow

    class BackOffRow(TypedDict):
        """Seconds, but for ``factor``."""

        duration_in_seconds: int
        factor: float
        max_duration: Optional[int]

    class RetryRow(TypedDict):
        """``limit`` counts the attempts after the first."""

        limit: int
        retry_policy: Literal["Always", "OnFailure", "OnError"]
        back_off: BackOffRow

    class SettingsRow(TypedDict):
        """What shapes a task's container and attempts (see ``Settings`` in ``plan/plan.py``). Times are in seconds."""

        image: Optional[str]
        environment: dict[str, str]
        volumes: list[VolumeRow]
        secrets: list[SecretRow]
        resources: ResourcesRow
        user: Optional[int]
        shm_size: Optional[str]
        scratch_size: Optional[str]
        read_only_root: bool
        grace_period: int
        time_limit: Optional[int]
        retry: NotRequired[RetryRow]
        pids_limit: int
        image_pull_secrets: list[str]

    class PlanDocument(TypedDict):
        """The plan. ``scopes`` are by path, and the pipeline's own is the empty one."""

        version: int
        stores: StoresRow
        import_roots: list[str]
        settings: list[SettingsRow]
        scopes: dict[str, ScopeRow]
        steps: list[StepRow]
        # The path of the row that runs after the pipeline; of a pipeline that has an on_exit.
        on_exit: NotRequired[str]

    # --- the description of a pipeline ------------------------------------------------------------------------------

    class PipelineDescription(TypedDict, total=False):
        """A pipeline as every form of it is described: its steps in the order of definition. ``name`` may be empty.

        ``order`` is there only of a graph.
        ``parameters`` is there only of a pipeline that declares them and is no part of another.
        """

        name: str
        steps: list[StepDescription]
        order: str
        parameters: list[ParameterRow]
        parameters_file: FileDescription
        on_exit: PipelineDescription

    class FileDescription(TypedDict):
        """A file that a pipeline names, and the line where it does; None where that is not known."""

        path: str
        line: Optional[int]

    class CatalogDescription(TypedDict, total=False):
        """The keys that a task gets and puts, and whether its files are copied into the catalog."""

        get: list[str]
        put: list[str]
        store_copy: bool

    class ReducerDescription(TypedDict):
        """A function that reduces the values of a map's items; ``name`` and ``line`` are those of the step."""

        name: str
        line: int
        kind: TaskKind
        function: FunctionRow

    class StepDescription(PipelineDescription, total=False):
        """A step: ``type`` says which of the keys it has. A pipeline that is itself a step has ``steps`` and no ``type``."""

        type: str
        line: int
        on_failure: Optional[PipelineDescription]
        keep_failure: bool
        # of a step of any type
        after: list[str]
        terminate_with_success: bool
        terminate_with_failure: bool
        # of a task
        kind: TaskKind
        function: FunctionRow
        command: str
        shell: str
        strict: bool
        html: bool
        takes: Optional[TakesRow]
        returns: list[ReturnRow]
        secrets: list[str]
        catalog: Optional[CatalogDescription]
        overrides: Union[dict[str, str], str]
        settings: dict[str, JsonValue]
        bind: dict[str, JsonValue]
        max_attempts: int
        # of a composite
        pipeline: PipelineDescription
        branch: PipelineDescription
        branches: dict[str, PipelineDescription]
        default: Optional[PipelineDescription]
        parameter: str
        iterate_on: str
        iterate_as: str
        reducer: Union[ReducerDescription, str, None]
        concurrency: int
        max_iterations: int
        break_on: str
        index_as: str

    # --- values and files of records --------------------------------------------------------------------------------

    class StoredValue(TypedDict):
        """A parameter as records have it.

        Of kind json and metric there is ``value``; of one that lies beside the record ``sha256``, ``size`` and ``offset`` in
        bytes, and in memory alone the ``file``. ``spelling`` is the text that the value was given as, where the value alone does
        not give it back. Of kind object there are ``sha256``, ``size`` in bytes and ``type``. Kind list is made by the runtime
        and in no record: the values of a map's items that returned objects, or that a function reduces, with the reducer, the
        map's path and the parameter's name.
        """

        kind: Literal["json", "metric", "object", "list"]
        value: NotRequired[JsonValue]
        spelling: NotRequired[str]
        offset: NotRequired[int]
        file: NotRequired[str]
        sha256: NotRequired[str]
        size: NotRequired[int]
        type: NotRequired[str]
        items: NotRequired[list[StoredValue]]
        reducer: NotRequired[Union[FunctionRow, str, None]]
        map: NotRequired[str]
        name: NotRequired[str]

    class ObjectEntry(TypedDict):
        """Bytes in the catalog: their hash and their size in bytes."""

        sha256: str
        size: int

    class CatalogEntry(ObjectEntry):
        """A file that a step put, or got: then ``from`` is the path of the step that put it.

        Keys:
            name: relative to the step's folder; of an empty folder, it ends in ``/``. executable: only where it is true.
        """

        name: str
        executable: NotRequired[bool]

    # Its key is a keyword.
    GotEntry = TypedDict(
        "GotEntry", {"name": str, "sha256": str, "size": int, "executable": NotRequired[bool], "from": str}
    )

    class CatalogRecord(TypedDict):
        get: list[GotEntry]
        put: list[CatalogEntry]

    class LeftFile(TypedDict):
        """A file that a step left and nobody put. ``project``: the project has one of this name, which the next step reads.

        The name of a folder that can't be looked into ends in ``/``, and its size is 0. ``items`` is in no record: where a
        container that several items of a map shared says what they left, it is how many left a file of the name, whose sizes
        are added.
        """

        name: str
        size: int
        project: NotRequired[bool]
        items: NotRequired[int]

    class LeftRecord(TypedDict):
        """What a step left in its folder and nobody put: ``count`` files of ``size`` bytes, and the names of some.

        ``incomplete`` is there where there was more to look at than there was time for.
        """

        files: list[LeftFile]
        count: int
        size: int
        incomplete: NotRequired[bool]

    InputRecord = TypedDict(
        "InputRecord",
        {"value": JsonValue, "from": str, "name": str, "kind": str, "sha256": str, "reduced": StoredValue},
        total=False,
    )
    """What a step took for an argument: a ``value`` of the pipeline's source, or where it is from and its hash.

    Of values that a reducer was applied to where the step took them, ``reduced`` is what it made of them, if that is JSON data.
    """

    class ReducedRecord(TypedDict):
        """An attempt's reduced.json: by the hash of the values of a map's items, what the map's reducer makes of them."""

        version: int
        reduced: dict[str, StoredValue]

    class ExceptionRecord(TypedDict):
        type: str
        message: str
        traceback: str

    # --- the records of an attempt ----------------------------------------------------------------------------------

    class UserRecord(TypedDict):
        uid: int
        gid: int
        groups: list[int]

    class MountRecord(TypedDict):
        """A mount in a container; ``size`` in bytes where it has one. A plain process has ``folder`` in place of ``read_only``."""

        path: str
        read_only: NotRequired[bool]
        size: NotRequired[int]
        folder: NotRequired[str]

    class LimitsRecord(TypedDict):
        """``memory`` in bytes and ``cpu`` in thousandths of a core; None is no limit."""

        memory: Optional[int]
        cpu: Optional[int]

    class PrivilegesRecord(TypedDict):
        effective: Optional[str]
        bounding: Optional[str]
        no_new_privileges: bool
        seccomp: Optional[str]

    class BeginRecord(TypedDict, total=False):
        """An attempt's begin.json: what its container is like from inside; empty of an attempt without one.

        ``image`` is the image's id file. ``group`` is the path of the group of items that shared the container.
        """

        version: int
        started: str
        image: Optional[dict[str, JsonValue]]
        argv: list[str]
        command: Union[str, FunctionRow, None]
        environment: list[str]
        user: UserRecord
        umask: int
        working_folder: str
        limits: Optional[LimitsRecord]
        mounts: list[MountRecord]
        read_only_root: Optional[bool]
        privileges: Optional[PrivilegesRecord]
        python: str
        machine: str
        hostname: str
        group: str

    Ending: TypeAlias = Literal["succeeded", "failed", "cancelled"]

    class EndRecord(TypedDict, total=False):
        """An attempt's end.json, written by the runtime; empty of an attempt without one.

        ``reason`` is there where the attempt is no success. It begins with the runtime's words where the infrastructure ended it.
        """

        version: int
        started: str
        ended: str
        status: Ending
        exit_code: int
        inputs: dict[str, InputRecord]
        inputs_digest: str
        returns: dict[str, StoredValue]
        catalog: CatalogRecord
        left: LeftRecord
        controls: ControlValues
        reason: str
        exception: ExceptionRecord
        out_of_memory: bool

    class EngineRecord(TypedDict, total=False):
        """An attempt's engine.json: how the engine saw it end. ``exit_code`` is None where the engine knows none."""

        version: int
        exit_code: Optional[int]
        cancelled: bool
        out_of_memory: bool
        message: str
        image_config: NotRequired[str]
        container: str
        image: str
        fault: bool

    # --- the records of a run ---------------------------------------------------------------------------------------

    class SourceRecord(TypedDict):
        """The pipeline's file, relative to the project's root, and which pipeline of the file it is."""

        file: str
        name: Optional[str]
        nth: Optional[int]
        arguments: list[str]

    class RevisionRecord(TypedDict, total=False):
        """The commit that the code of a run was of.

        ``committed`` is its time. ``uncommitted`` says whether a file of code was not as it is in the commit. ``repository`` is
        the address that it was cloned from. A key is missing where that is not known; ``commit`` never is.
        """

        commit: str
        committed: str
        uncommitted: bool
        repository: str

    class ImageRecord(TypedDict):
        """An image that a run has resolved.

        ``reference`` is what a person reads. ``digest`` is the config's, and ``manifest`` the digest of the manifest where the
        registry, or the engine, knows the image by that. ``name`` is what pods name it by where that is not the reference.
        """

        reference: str
        digest: str
        identity: str
        manifest: NotRequired[str]
        name: NotRequired[str]

    class DriverRecord(TypedDict, total=False):
        """The client that drives a run on this machine (``host``, ``pid`` and ``started``), or its ``workflow`` on a cluster.

        It is for readers. Which process is signalled is read from the run's lock (``backends/driver.py``).
        """

        host: str
        pid: int
        started: str
        workflow: str

    class RunRecord(TypedDict, total=False):
        """run.json of a run, or of a continuation of it.

        ``plan`` is the plan's JSON as text; a listing leaves it out. ``spellings`` are the texts that spelled parameters, by name,
        where the values do not give them back. ``context`` holds ``context`` and ``namespace`` of a cluster.
        ``images`` are those that single steps name, by the setting that names them; ``image`` is all others'.
        Only a run on a cluster has ``submission``, and only a continuation ``continued``, ``part``, ``attempts`` and ``again``.
        ``described`` holds the runtime's answers that the plan was made of, where the pipeline's file computes something for
        each run; it is missing elsewhere. ``patches`` are those of ``--patch``, if there are any. ``revision`` is missing where
        the code lies in no repository.
        """

        version: int
        run_id: str
        pipeline: str
        source: Optional[SourceRecord]
        revision: RevisionRecord
        environment: str
        context: dict[str, str]
        without_effect: list[str]
        tag: str
        started: str
        image: Optional[ImageRecord]
        images: dict[str, ImageRecord]
        parameters: dict[str, JsonValue]
        spellings: dict[str, str]
        controls: ControlValues
        plan_hash: str
        plan: str
        described: dict[str, DescribeResponse]
        patches: dict[str, PatchRow]
        driver: Optional[DriverRecord]
        submission: str
        continued: str
        part: int
        attempts: dict[str, int]
        again: list[str]

    class SubmittedRecord(RunRecord, total=False):
        """run.json as it is submitted to a cluster: what a schedule submits has no ``run_id`` and no ``started`` yet."""

    class RunEnd(TypedDict, total=False):
        """A run's end.json, or that of a continuation."""

        version: int
        ended: str
        status: Ending
        reason: str

    class RunPlace(TypedDict, total=False):
        """Where a run is: ``host`` and ``folder`` of a machine, or ``context``, ``namespace`` and ``claim`` of a cluster."""

        host: str
        folder: str
        context: str
        namespace: str
        claim: str

    class MovedRecord(TypedDict, total=False):
        """moved.json of a run that was moved away."""

        version: int
        moved: str
        to: RunPlace

    # --- requests and answers ---------------------------------------------------------------------------------------

    class ListedRun(TypedDict):
        """A run in the listing of a volume. ``mark`` tells the client's copy from a newer one."""

        run: RunRecord
        end: Optional[RunEnd]
        mark: Optional[str]

    class PieceDocument(TypedDict):
        """A piece of a file: its offset in the file and the size of the whole file in bytes, and its bytes in base64."""

        name: str
        offset: int
        size: int
        data: str

    class VolumeRequest(TypedDict, total=False):
        """A request to the pod that reads the volume; ``do`` says which keys it has (see ``server/service.py``)."""

        do: str
        run_log: str
        catalog: str
        run: str
        identity: Optional[str]
        have: Mapping[str, Union[int, str, None]]
        logs: bool
        steps: list[str]
        objects: list[str]
        files: Mapping[str, str]
        origin: RunPlace
        token: str
        first: bool
        last: bool
        whole: bool
        pieces: list[PieceDocument]

    class DescribeRequest(TypedDict):
        """What the runtime's describe is asked: the pipeline of a ``file``, or ``functions`` by their dotted paths.

        ``package`` is that of the file where it has relative imports. ``notebooks`` are paths from the project's root; the key is
        there only where there are any.
        """

        roots: list[str]
        file: Optional[str]
        functions: list[str]
        notebooks: NotRequired[list[str]]
        name: NotRequired[Optional[str]]
        nth: NotRequired[Optional[int]]
        arguments: NotRequired[list[str]]
        package: NotRequired[str]

    class ResolvedFunction(TypedDict, total=False):
        """A function that was looked for: ``refused`` says why it is none."""

        function: FunctionRow
        takes: TakesRow
        refused: str

    class FoundNotebook(TypedDict, total=False):
        """A notebook that was looked for: what it takes, or why it can't be read. Neither where that takes a package it lacks."""

        takes: TakesRow
        refused: str

    class DescribeResponse(TypedDict, total=False):
        """What the runtime's describe answers.

        ``pipeline`` (a description), or ``functions``, each with whether there is ``bash``; or ``refused`` with the line of the
        user's file, if it is known; or what the user's file ``raised``, with its traceback. ``place`` is the file and line of
        the project where it was raised. Of what was raised, ``module`` is the one that is missing, ``variable`` an environment
        variable, ``path`` a file; and ``network`` is true where the network is. ``notebooks`` are those of the pipeline, or those
        that were asked for, by their paths, and ``lacks`` names the packages for notebooks that are not there.
        """

        pipeline: PipelineDescription
        functions: dict[str, ResolvedFunction]
        bash: bool
        notebooks: dict[str, FoundNotebook]
        lacks: list[str]
        refused: str
        line: Optional[int]
        raised: str
        traceback: str
        place: str
        module: str
        variable: str
        path: str
        network: bool
