"""What is known to give the same whenever it is called with the same, of Python and of well-known packages."""

from __future__ import annotations

import builtins


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SDK_NAMES = _words(
    "AsyncPipeline AsyncPythonTask Catalog Conditional Fail Loop Map Nested NotebookJob NotebookTask Parallel Parameter "
    "Pipeline PythonJob PythonTask ShellJob ShellTask Stub Success after json metric pickled pipeline task"
)
"""``toolkit.__all__``."""

ENVIRONMENT = frozenset({"os.environ", "os.environb", "posix.environ"})
"""The environment variables. One that is read by its name is harmless: a description is kept by their values."""
OF_THE_MACHINE = frozenset({"HOSTNAME"})
"""Environment variables that each container has another value of."""
FORBIDDEN = frozenset({"sys.path", "sys.modules", "sys.meta_path", "sys.path_hooks"})
"""What decides which code an import finds."""

BUILTINS = _words(
    "abs all any ascii bin bool bytes bytearray callable chr classmethod complex dict divmod enumerate filter float format "
    "frozenset hasattr hex int isinstance issubclass iter len list map max min next oct ord pow print property range repr "
    "reversed round set slice sorted staticmethod str sum tuple zip"
) | {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)}
BUILTIN_DATA = frozenset({"True", "False", "None", "NotImplemented", "Ellipsis", "__debug__"})
LAZY = frozenset({"enumerate", "filter", "iter", "map", "range", "reversed", "zip"})
"""Builtins that give an iterator, whose text would hold its address."""
CALLS_ITS_ARGUMENT = frozenset({"filter", "map"})
"""Builtins whose first argument is called with the items of the others."""
SHOWS = frozenset({"ascii", "format", "repr", "str"})
"""Builtins that show a value as text, in which an object has its address."""
OF_BUILTINS = frozenset(
    {"dict.fromkeys", "str.join", "str.maketrans", "bytes.fromhex", "int.from_bytes", "float.fromhex"}
)

METHODS = frozenset(
    name
    for kind in (str, bytes, int, float, complex, list, tuple, dict, set, frozenset, range, slice)
    for name in vars(kind)
    if not name.startswith("__")
) | _words(
    # of a path, without asking the disk
    "absolute as_posix is_absolute is_relative_to joinpath relative_to resolve with_name with_stem with_suffix "
    # of dates and times, numbers, patterns and texts
    "date fromisoformat isocalendar isoformat isoweekday strftime time timetuple total_seconds weekday quantize normalize "
    "findall finditer fullmatch group groups groupdict match search sub subn safe_substitute substitute hexdigest digest "
    # of counters, deques and named tuples
    "appendleft elements extendleft most_common new_child popleft rotate _asdict _replace "
    # of argument parsers and loggers
    "add_argument add_argument_group add_mutually_exclusive_group add_parser add_subparsers parse_args parse_known_args "
    "set_defaults addFilter addHandler critical debug error exception info log setFormatter setLevel warning"
)
"""Methods of what is made of literals and of harmless calls."""
SDK_METHODS = frozenset({"execute", "execute_streaming", "as_pipeline", "as_step", "returned", "describe"})
ADDING = frozenset({"add", "append", "appendleft", "extend", "extendleft", "insert", "setdefault", "update"})
"""Those of them that put their arguments into what they are called on."""
PASSIVE = _words("critical debug error exception info log warning") | SDK_METHODS
"""Those that neither call what they are given nor give it back."""
SHOWING = frozenset({"format", "format_map", "substitute", "safe_substitute"})
TAKES_A_FUNCTION = frozenset({"PythonTask", "AsyncPythonTask", "PythonJob", "task", "Map"})
SDK_DATA = frozenset({"name", "line", "description", "kind"})

ANYTHING = frozenset({"*"})
CALLS: dict[str, frozenset[str]] = {
    module: _words(names)
    for module, names in {
        "abc": "*",
        "argparse": "*",
        "ast": "literal_eval parse",
        "asyncio": "run",
        "attr": "*",
        "attrs": "*",
        "base64": "*",
        "collections": "ChainMap Counter OrderedDict defaultdict deque namedtuple UserDict UserList UserString",
        "contextlib": "suppress nullcontext",
        "copy": "copy deepcopy",
        "dataclasses": "dataclass field asdict astuple replace fields KW_ONLY",
        "datetime": "date datetime time timedelta timezone",
        "datetime.date": "fromisoformat fromisocalendar fromordinal",
        "datetime.datetime": "combine fromisoformat fromisocalendar fromordinal strptime",
        "datetime.time": "fromisoformat",
        "decimal": "Decimal",
        "enum": "auto",
        "fractions": "Fraction",
        "functools": "partial reduce wraps lru_cache cmp_to_key",
        "hashlib": "md5 sha1 sha224 sha256 sha384 sha512 blake2b blake2s new",
        "importlib.metadata": "distribution metadata version",
        "itertools": "*",
        "itertools.chain": "from_iterable",
        "json": "dumps loads",
        "logging": "FileHandler Formatter NullHandler StreamHandler addLevelName basicConfig captureWarnings debug disable error "
        "getLevelName getLogger info warning",
        "math": "*",
        "matplotlib": "use",
        "numpy": "set_printoptions",
        "numpy.random": "seed",
        "operator": "*",
        "os": "fspath fsdecode fsencode getcwd",
        "os.path": "abspath basename commonpath commonprefix dirname isabs join normcase normpath realpath relpath split splitext",
        "pandas": "set_option",
        "pathlib": "Path PosixPath PurePath PurePosixPath",
        "platform": "machine python_implementation python_version python_version_tuple system",
        "pydantic": "Field ConfigDict PrivateAttr",
        "random": "seed",
        "re": "*",
        "statistics": "*",
        "string": "Template capwords",
        "sys": "exit intern",
        "textwrap": "*",
        "torch": "manual_seed set_num_threads",
        "typing": "*",
        "typing_extensions": "*",
        "uuid": "UUID uuid3 uuid5",
        "warnings": "*",
        "zoneinfo": "ZoneInfo",
    }.items()
}
"""By module or class, the names in it that are harmless to call; ``*`` is all of them."""
DEFINING = frozenset({"abc", "attr", "attrs", "dataclasses", "enum", "pydantic", "typing", "typing_extensions"})
"""Modules whose calls are definitions. They don't call what they are given."""
SAME_CODE = frozenset(
    {
        "abc.abstractmethod",
        "contextlib.asynccontextmanager",
        "contextlib.contextmanager",
        "functools.cache",
        "functools.lru_cache",
        "functools.wraps",
        "typing.final",
        "typing.no_type_check",
        "typing.overload",
        "typing.override",
        "typing_extensions.override",
    }
)
"""Decorators after which a call of the function runs the function's own code."""
RECORD_DECORATORS = frozenset(
    {
        "dataclasses.dataclass",
        "dataclass_transform",
        "enum.unique",
        "functools.total_ordering",
        "attr.s",
        "attrs.define",
        "attrs.frozen",
    }
)
RECORD_BASES = frozenset({"typing.NamedTuple", "typing.TypedDict", "typing_extensions.TypedDict", "pydantic.BaseModel"})
ENUMERATIONS = frozenset({"enum.Enum", "enum.Flag", "enum.IntEnum", "enum.IntFlag", "enum.StrEnum"})
INNER_BASES = frozenset({"typing.Generic", "typing.Protocol", "abc.ABC", "object", "str", "int", "float", "Exception"})
"""Base classes that run nothing when an instance is made."""


def is_constant(dotted: str) -> bool:
    """Whether a name is spelt as a constant is, which nothing calls."""
    return dotted.rpartition(".")[2].isupper()


def is_harmless_call(dotted: str) -> bool:
    """Whether the call of this name, with harmless arguments, gives the same each time."""
    module, _, name = dotted.rpartition(".")
    names = CALLS.get("os.path" if module in ("posixpath", "ntpath") else module, frozenset())
    return name in names or names == ANYTHING
