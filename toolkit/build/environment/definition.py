"""The definition of an environment image: base image, system packages and locked dependencies; its tag follows from these."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolkit.build.environment.apt_file import AptFile
from toolkit.build.environment.dependencies.found import Dependencies, Export, Tool
from toolkit.build.environment.installer_settings import installer_settings
from toolkit.build.environment.meaning.memory import VERSION, Memory
from toolkit.config.settings import BuildNetwork
from toolkit.data import data_path
from toolkit.errors import BadInput

REPOSITORY = "toolkit-env"
SYSTEM_REPOSITORY = "toolkit-system"
BASE_IMAGE = "the base image"
SYSTEM_PACKAGES = "build.system_packages"
BUILD_PACKAGES = "build.build_packages"
OPTION = "the option "
"""What the name of an option of a template begins with."""
TEMPLATE = "toolkit's own template of the environment"
_PARTS = {
    "none": ("system",),
    "uv": ("tools", "uv", "result"),
    "sync": ("tools", "sync", "result"),
    "pip": ("tools", "pip", "result"),
    "conda": ("tools", "tool", "conda", "result"),
    "export": ("tools", "tool", "export"),
    "editable": ("tools", "editable"),
}
"""The templates in dockerfiles/ that a build consists of, in this order."""
_SUPPORT = ("network.sh", "refuse.sh", "layer.py", "foreign.py", "why.py", "tools/uv.txt")
"""What the templates read beside the project's files."""
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*(?::[a-z0-9]+)?(?:=[A-Za-z0-9.+:~-]+)?")


@dataclass(frozen=True)
class EnvironmentDefinition:
    """The inputs of an environment image.

    Attributes:
        base: the base image's reference, as configured or by default.
        base_id: the base image's id; "" when the engine does not have it.
        packages: the system packages.
        meaning: of the lock's files, as :class:`Memory` says it; None where it is worked out here.
        build_packages: the system packages that only the installation needs. They are not in the image.
        made_of: what the base image is made of, where that is the project's own Dockerfile; in the form of :meth:`inputs`.
        apt: the file that names some of the system packages.
        commands: what is run once all is installed (``build.run``).
        command_files: the files that they find, in the form of :meth:`inputs`; ``place_files`` copies them into a folder.
        pip_config: the file that build.network.pip_config names.
        platform: that of the image, where it is not the engine's; "" else. The base image's id counts for it.
        named: the base image's reference as configured, where the engine has it by another name; "" else.
    """

    base: str
    base_id: str
    packages: tuple[str, ...]
    lock: Dependencies
    meaning: Mapping[str, str] | None = None
    build_packages: tuple[str, ...] = ()
    made_of: Mapping[str, str] = field(default_factory=dict)
    pip_config: Path | None = None
    apt: AptFile | None = None
    commands: tuple[str, ...] = ()
    command_files: Mapping[str, str] = field(default_factory=dict)
    place_files: Callable[[Path], None] | None = field(default=None, compare=False)
    platform: str = ""
    named: str = ""

    @property
    def shown_base(self) -> str:
        """The base image as people know it."""
        return self.named or self.base

    @property
    def is_base(self) -> bool:
        """Whether the base image itself is the environment, because nothing is added."""
        return self.lock.kind == "none" and not self.packages and not self.commands

    @property
    def tool(self) -> Tool:
        """What installs the dependencies."""
        return "conda" if self.lock.kind == "conda" else "uv"

    def template(self) -> bytes:
        """The Dockerfile of what is installed."""
        return template(self.lock.kind, bool(self.platform))

    def inputs(self) -> dict[str, str]:
        """All that the image depends on, by names and with values as :mod:`toolkit.build.environment.meaning.parts` has them."""
        inputs = {**self._own_inputs(), **self.made_of}
        if self.apt is not None:
            for name in self.apt.packages:
                inputs[f"{self.apt.file}: {name}"] = inputs.pop(f"{SYSTEM_PACKAGES}: {name}", "")
        return inputs

    def _own_inputs(self) -> dict[str, str]:
        """The same without what the base image is made of: another comment in a Dockerfile is the same environment."""
        inputs = {BASE_IMAGE: self.base_id, **{f"{SYSTEM_PACKAGES}: {name}": "" for name in set(self.packages)}}
        inputs |= Memory().of(self.lock.files, self.lock.reading) if self.meaning is None else self.meaning
        if not self.is_base:
            parts = [self.template(), *support().values(), *tool_files(self.tool).values(), str(VERSION).encode()]
            if self.packages:
                parts.append(template("none"))
            if self.commands:
                parts.append(commands_template(1))
            if self.lock.environment:
                parts.append(json.dumps(self.lock.environment, sort_keys=True).encode())
            inputs[TEMPLATE] = "\n" + hashlib.sha256(b"".join(parts)).hexdigest()
            inputs["the kind of installation"] = self.lock.kind
            for name, value in self.lock.options.items():
                inputs |= _option(name, value)
            inputs |= installer_settings(self.lock, self.pip_config).parts
        if self.lock.kind != "none":
            inputs |= {f"{BUILD_PACKAGES}: {name}": "" for name in self.build_packages}
        for number, command in enumerate(self.commands):
            name = f"build.run: {short_command(command)}"
            name = f"{name} ({number})" if name in inputs else name
            inputs[name] = "\n" + hashlib.sha256(f"{number} {command}".encode()).hexdigest()
        return {**inputs, **self.command_files}

    @property
    def without_commands(self) -> EnvironmentDefinition:
        """What the commands are run in."""
        return replace(self, commands=(), command_files={}, place_files=None)

    @property
    def reference(self) -> str:
        """The environment image's own reference, or the base image's where nothing is added."""
        if self.is_base:
            return self.base
        if self.lock.kind == "none" and not self.commands:
            return system_reference(self.base_id, self.packages)
        key = hashlib.sha256(json.dumps(self._own_inputs(), sort_keys=True).encode()).hexdigest()
        return f"{REPOSITORY}:{key}"


def _option(name: str, value: str) -> dict[str, str]:
    """The parts that an option of the installation is: an extra or a group is named as its setting."""
    chosen = re.findall(r"--(extra|group)=(\S+)", value)
    parts = {f"build.{kind}s: {one}": "" for kind, one in chosen}
    rest = " ".join(re.sub(r"--(extra|group)=\S+", "", value).split())
    return {**parts, f"{OPTION}{name}": rest}


def template(kind: str, foreign: bool = False) -> bytes:
    """The Dockerfile of a build: of an environment, by the kind of its dependencies, or of an ``export``.

    Args:
        foreign: whether the packages are for another platform than that of the programs which install them.
    """
    parts = ["foreign" if foreign and part == "result" else part for part in _PARTS[kind]]
    return b"\n".join(data_path(f"dockerfiles/{part}.Dockerfile").read_bytes() for part in parts)


def commands_template(count: int) -> bytes:
    """The Dockerfile of this many commands of ``build.run``."""
    head, _, each = data_path("dockerfiles/run.Dockerfile").read_text().partition("RUN ")
    return (head + "\n".join(f"RUN {each.replace('NUMBER', str(number))}" for number in range(count))).encode()


def short_command(command: str) -> str:
    """A command as a sentence names it."""
    words = " ".join(command.split())
    return words if len(words) <= 60 else f"{words[:59]}…"


def system_reference(base_id: str, packages: tuple[str, ...]) -> str:
    """The reference of the image that is the base with its system packages."""
    inputs = [base_id, sorted(set(packages)), hashlib.sha256(template("none")).hexdigest()]
    return f"{SYSTEM_REPOSITORY}:{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()}"


def support() -> dict[str, bytes]:
    """The files that the templates read beside the project's, by their paths."""
    return {name: data_path(f"dockerfiles/{name}").read_bytes() for name in _SUPPORT}


def tool_files(tool: Tool) -> dict[str, bytes]:
    """What a build with a tool beside uv reads: the tool's requirements, with their hashes, and how it is called."""
    if tool == "uv":
        return {}
    files = {"requirements.txt": data_path(f"dockerfiles/tools/{tool}.txt").read_bytes()}
    if tool == "conda":
        files["conda.py"] = data_path("dockerfiles/conda.py").read_bytes()
    return files


def export_key(
    export: Export, base_id: str, packages: tuple[str, ...], build_packages: tuple[str, ...] = (),
    memory: Memory | None = None,
) -> str:  # fmt: skip
    """What the answer of an export depends on."""
    parts = hashlib.sha256(
        template("export") + b"".join([*support().values(), *tool_files(export.tool).values()])
    ).hexdigest()
    meaning = (memory or Memory()).of(export.files, export.reading)
    others = [" ".join(sorted(set(names))) for names in (packages, build_packages)]
    settings = installer_settings(export).parts
    others += [json.dumps(dict(settings), sort_keys=True)] if settings else []
    return export.key(meaning, base_id, *others, parts, str(VERSION))


def check_packages(packages: tuple[str, ...], setting: str = "build.system_packages") -> None:
    """Checks that all are names of packages, because they get onto a shell's command line.

    Raises:
        BadInput: one is not the name of a Debian package.
    """
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            raise BadInput(
                f"{setting}: {package!r} is not the name of a Debian package (name, name:arch or name=version)"
            )


def network_files(network: BuildNetwork, home: Path) -> dict[str, Path]:
    """The files that BuildKit mounts as secrets, by the secret's id; ``ssh`` is the key or socket for its mounts of SSH.

    Args:
        home: the configuration file's folder, which relative paths start from.

    Raises:
        BadInput: a file is set but missing.
    """
    secrets: dict[str, Path] = {}
    for name, value in (
        ("ca", network.ca_bundle),
        ("pip_config", network.pip_config),
        ("netrc", network.netrc),
        ("ssh", network.ssh),
    ):
        if value is not None:
            path = home / Path(value).expanduser()
            if not (path.is_file() or (name == "ssh" and path.is_socket())):
                raise BadInput(f"build.network names {value!r}, which is not a file")
            secrets[name] = path
    if "ca" not in secrets:
        for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"):
            file = os.environ.get(variable)
            if file and os.path.isfile(file):
                secrets["ca"] = Path(file)
                break
    if "netrc" not in secrets:
        # As uv, pip and curl find it.
        named = os.environ.get("NETRC")
        for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
            if os.access(path, os.R_OK) and path.is_file():
                secrets["netrc"] = path
                break
    return secrets
