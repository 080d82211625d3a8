"""Where pip and uv of whoever builds take packages from: their environment variables and pip.conf, each by its own tool's rules.

They reach the build as secrets. What they say of addresses counts for the environment, without user names, passwords and tokens.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.build.environment.dependencies.found import Dependencies, Export
from toolkit.errors import BadInput

ADDRESSES = {
    "pip": ("PIP_INDEX_URL", "PIP_PYPI_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"),
    "uv": ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"),
}
"""The variables that name indexes, by who reads them."""
_CHOICE = {"pip": ("PIP_NO_INDEX",), "uv": ("UV_NO_INDEX", "UV_INDEX_STRATEGY")}
"""Those that say which of the indexes counts."""
_WAY = {
    "pip": ("PIP_TRUSTED_HOST", "PIP_PROXY", "PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"),
    "uv": ("UV_INSECURE_HOST", "UV_HTTP_TIMEOUT"),
}
"""Those that say how an index is reached. They change nothing of what is installed."""
_UV_LOGIN = r"UV_INDEX_\w+_(?:USERNAME|PASSWORD)"
_LOGIN = rf"{_UV_LOGIN}|POETRY_HTTP_BASIC_\w+_(?:USERNAME|PASSWORD)"
_IN_CONFIG = {"index-url": True, "pypi-url": True, "extra-index-url": True, "find-links": True, "no-index": False}
"""The options of a pip.conf that say where packages come from, and whether they are addresses."""
_WAY_IN_CONFIG = ("trusted-host", "proxy", "timeout", "default-timeout", "retries")
_NAMES_INDEX = rb"(?mi)^\s*(?:index[-_]url|pypi[-_]url|extra[-_]index[-_]url|find[-_]links|no[-_]index)\s*[=:]"
_THIS_MACHINE = r"://(?:[^/\s@\"']*@)?(localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1?\])(?=[:/\s\"']|$)"


@dataclass(frozen=True)
class InstallerSettings:
    """What one installation gets of the settings of whoever builds.

    Attributes:
        reader: ``pip`` or ``uv``: whose settings count. Empty where nothing is asked of an index.
        variables: the environment variables that it gets.
        pip_config: the text of the pip.conf that it gets; empty where it gets none.
        parts: what counts of them for the environment, by name, without credentials.
        origins: what names an index, by the index's host, for messages.
        notes: what is said of them.
        mirror: the address of the index that stands in for the public one, with its credentials; empty where none does.
    """

    reader: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    pip_config: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    mirror: str = ""


def installer_settings(
    found: Dependencies | Export, pip_config: Path | None = None, of_backend: bool = False
) -> InstallerSettings:
    """The settings that an installation, or the question to a tool, gets.

    Args:
        pip_config: the file that build.network.pip_config names, which stands in for those of the machine.
        of_backend: whether uv asks a build backend; nothing that it says counts then.

    Raises:
        BadInput: an index is on this machine's own localhost, or a pip.conf can't be read.
    """
    config = _read_pip_config(found, pip_config)
    reader = "uv" if of_backend else _reader(found, bool(config.texts))
    variables: dict[str, str] = {}
    counted: dict[str, str] = {}
    origins: dict[str, str] = {}
    notes: list[str] = []
    for name in (*ADDRESSES.get(reader, ()), *_CHOICE.get(reader, ())):
        value = os.environ.get(name, "")
        if not value.strip():
            continue
        is_address = name in ADDRESSES[reader]
        kept, local = _addresses(value, name) if is_address else ([value], [])
        if local:
            notes.append(
                f"warning: {name} is not used in the build, which has no {' and no '.join(local)} of this machine"
            )
        if kept:
            variables[name] = " ".join(kept) if name != "UV_FIND_LINKS" else ",".join(kept)
            counted[name] = variables[name]
            if is_address:
                _take_in(name, kept, origins, notes)
    if reader == "pip" and config.texts:
        for option, text in config.texts.items():
            counted[f"pip.conf: {option}"] = text
        _take_in(config.shown, config.addresses, origins, notes)
        notes += [
            f"warning: {config.shown} names {one}, a folder of this machine, which the build does not have"
            for one in config.local
        ]
    for other in ("pip", "uv"):
        # They change nothing of what is installed, so both tools get theirs: each may be installed by the other.
        variables |= {name: os.environ[name] for name in _WAY[other] if os.environ.get(name)} if reader else {}
        if reader and other != reader:
            notes += _passed_over(other, reader, found)
    if reader == "uv":
        logins = {name: value for name, value in os.environ.items() if re.fullmatch(_UV_LOGIN, name) and value}
        variables |= logins
        notes += _unread_uv_settings()
        if logins:
            notes.append(f"note: {', '.join(sorted(logins))} {'is' if len(logins) == 1 else 'are'} used in this build")
    parts: dict[str, str] = {}
    if counted and not of_backend and _counts(found):
        from toolkit.build.environment.meaning.parts import of_value, without_credentials

        parts = {name: of_value(without_credentials(value)) for name, value in counted.items()}
    own_config = config.text if reader == "pip" and pip_config is None else ""
    return InstallerSettings(
        reader, variables, own_config, parts, origins, tuple(notes), _mirror(config) if reader else ""
    )


def _reader(found: Dependencies | Export, has_config: bool) -> str:
    if isinstance(found, Export):
        return "uv" if found.tool == "uv" else ""
    if found.kind != "pip":
        return "" if found.kind == "none" else "uv"
    if "--no-index" in found.options.get("PIP_OPTIONS", ""):
        return ""
    # uv chooses among several indexes by another rule than pip, so pip installs where its own settings name one.
    is_quick = found.options.get("INSTALLER") == "uv" and not has_config
    return "uv" if is_quick and not any(_remote(name) for name in ADDRESSES["pip"]) else "pip"


def _counts(found: Dependencies | Export) -> bool:
    """Whether addresses say what is installed: a uv.lock or a pylock.toml has its own."""
    if isinstance(found, Export):
        return True
    if found.kind == "sync":
        return "pylock" not in os.path.basename(found.options.get("LOCK", ""))
    return found.kind == "pip" or (found.kind == "conda" and "REQUIREMENTS" in found.options)


def _remote(name: str) -> list[str]:
    return _addresses(os.environ.get(name, ""), name)[0]


def _addresses(value: str, name: str = "") -> tuple[list[str], list[str]]:
    """The addresses in a value, and the folders of this machine. uv may have a name before an address (``name=https://…``)."""
    words = [word for word in re.split(r"[\s,]+" if name == "UV_FIND_LINKS" else r"\s+", value) if word]
    local = [word for word in words if "://" not in word or re.match(r"(?:[\w.-]+=)?file:", word)]
    return [word for word in words if word not in local], local


def _take_in(name: str, addresses: Iterable[str], origins: dict[str, str], notes: list[str]) -> None:
    hosts = []
    for address in addresses:
        refuse_own_host(address, name)
        host = host_of(address)
        origins.setdefault(host, name)
        hosts.append(host)
    if hosts:
        notes.append(f"note: {name} is used in this build ({', '.join(dict.fromkeys(hosts))})")


def host_of(address: str) -> str:
    """The host of an address, without user name, password and port."""
    return re.sub(r":\d+$", "", re.sub(r"^.*?://", "", address).split("/")[0].split("?")[0].rpartition("@")[2])


def refuse_own_host(address: str, where: str) -> None:
    """Refuses an address on localhost, which is the build's own container there.

    Raises:
        BadInput: it is one.
    """
    found = re.search(_THIS_MACHINE, address)
    if found:
        raise BadInput(
            f"an index is on {found[1]}, which is the build's own container while packages are installed: name an address of "
            "this machine that containers reach (of Docker's bridge, often 172.17.0.1; host.docker.internal in Docker "
            "Desktop), and let the index listen there",
            where,
        )


def _passed_over(other: str, reader: str, found: Dependencies | Export) -> list[str]:
    """What is said of the other tool's indexes: nobody should believe that they are used."""
    names = [name for name in ADDRESSES[other] if _remote(name)]
    if not names:
        return []
    verb = "is" if len(names) == 1 else "are"
    what = found.file or "the project"
    return [
        f"warning: {', '.join(names)} {verb} not used, because {reader} installs {what}: it reads {ADDRESSES[reader][0]}"
    ]


def _unread_uv_settings() -> list[str]:
    """What is said of uv's settings outside of the project, where they name an index."""
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv" / "uv.toml"
    notes = []
    for path in (Path(os.environ.get("UV_CONFIG_FILE") or own), Path("/etc/uv/uv.toml")):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if re.search(rb"(?m)^\s*(?:\[\[index\]\]|(?:extra-index-url|index-url|find-links|index)\s*=)", content):
            notes.append(
                f"warning: {path} names an index, and is not used in the build: name it in the project's own settings of uv, or in "
                "UV_DEFAULT_INDEX or UV_INDEX"
            )
    return notes


# --- pip.conf ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _PipConfig:
    """What a pip.conf says of indexes.

    Attributes:
        texts: by option; empty where it says nothing of them. local: the folders of this machine that it names.
    """

    shown: str = ""
    text: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    local: tuple[str, ...] = ()


def pip_config_files() -> list[Path]:
    """The files that pip reads, in its order: what a later one says counts more."""
    named = os.environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    home = Path.home()
    folders = (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    files = [*(Path(folder) / "pip" / "pip.conf" for folder in folders if folder), Path("/etc/pip.conf")]
    if sys.platform == "darwin":
        files[:-1] = [Path("/Library/Application Support/pip/pip.conf")]
    if not (named and os.path.exists(named)):
        files.append(home / ".pip" / "pip.conf")
        own = home / "Library/Application Support/pip"
        if not (sys.platform == "darwin" and own.is_dir()):
            own = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip"
        files.append(own / "pip.conf")
    if os.environ.get("VIRTUAL_ENV"):
        files.append(Path(os.environ["VIRTUAL_ENV"]) / "pip.conf")
    return [*files, Path(named)] if named else files


def _read_pip_config(found: Dependencies | Export, chosen: Path | None) -> _PipConfig:
    if isinstance(found, Export) or found.kind != "pip":
        return _PipConfig()
    contents: list[tuple[Path, bytes]] = []
    for path in [chosen] if chosen is not None else pip_config_files():
        try:
            contents.append((path, path.read_bytes()))
        except OSError:
            continue
    named = [path for path, content in contents if re.search(_NAMES_INDEX, content)]
    if not named:
        return _PipConfig()
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path, content in contents:
        for section, options in _sections(path, content).items():
            sections.setdefault(section, {}).update(options)
    texts: dict[str, str] = {}
    addresses: list[str] = []
    local: list[str] = []
    lines: list[str] = []
    for section in ("global", "install"):
        lines.append(f"[{section}]")
        for option, value in sections[section].items():
            if option in _WAY_IN_CONFIG:
                lines.append(f"{option} = {_continued(value.split())}")
            if option not in _IN_CONFIG:
                continue
            remote, folders = _addresses(value) if _IN_CONFIG[option] else ([value.strip()], [])
            local += folders
            if remote:
                texts[option if section == "global" else f"{section}.{option}"] = " ".join(remote)
                lines.append(f"{option} = {_continued(remote)}")
                addresses += remote if _IN_CONFIG[option] else []
    shown = ", ".join(str(path) for path in named)
    return _PipConfig(shown, "\n".join(lines) + "\n", texts, tuple(addresses), tuple(local))


def _sections(path: Path, content: bytes) -> dict[str, dict[str, str]]:
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read_string(content.decode("utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0]
        line = getattr(error, "lineno", None)
        raise BadInput(f"pip can't read it: {said}", f"{path}:{line}" if line else str(path)) from None
    return {
        section: {name.lower().replace("_", "-"): value for name, value in parser.items(section)}
        for section in parser.sections()
    }


def _continued(words: list[str]) -> str:
    return words[0] if len(words) == 1 else "".join(f"\n    {word}" for word in words)


def _mirror(config: _PipConfig) -> str:
    """The index from which toolkit's own tools, whose hashes are locked, are tried first."""
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if remote := _remote(name):
            return re.sub(r"^[\w.-]+=(?=\w+://)", "", remote[0])
    return config.texts.get("install.index-url") or config.texts.get("index-url") or ""


# --- secrets ----------------------------------------------------------------------------------------------------------


def check_variables(found: Dependencies | Export) -> None:
    """Checks that each variable which an address names is set, before anything is installed.

    Raises:
        BadInput: one is not, with the line that names it.
    """
    for name in found.variables:
        if name in os.environ:
            continue
        pattern = re.compile(rf"(?m)^[^#\n]*://[^\s#]*\$\{{{name}\}}")
        for path, content in found.files.items():
            text = content.decode("utf-8", "replace")
            match = pattern.search(text)
            if match:
                # What a tool answered is no file of the project.
                place = f"{path}:{text[: match.end()].count(chr(10)) + 1}" if _is_own(found, path) else found.file
                raise BadInput(
                    f"the address has ${{{name}}}, and the environment variable {name} is not set: set it", place
                )


def _is_own(found: Dependencies | Export, path: str) -> bool:
    return isinstance(found, Export) or found.file == path or found.kind == "pip"


def refuse_own_hosts(found: Dependencies | Export) -> None:
    """Refuses the addresses on localhost in the files that say where packages come from.

    Raises:
        BadInput: there is one.
    """
    for path in found.reading.forms:
        content = found.files.get(path, b"")
        if not re.search(rb"localhost|127\.|0\.0\.0\.0|\[::", content):
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if not line.lstrip().startswith("#") and re.search(r"index|registry|links|url", line):
                refuse_own_host(line, f"{path}:{number}" if _is_own(found, path) else found.file or path)


def origins_in_files(found: Dependencies | Export) -> dict[str, str]:
    """The variables that addresses in the files name, by the address's host."""
    origins: dict[str, str] = {}
    for content in found.files.values() if found.variables else ():
        for login, host in re.findall(r"://([^/\s@]*\$\{[^/\s@]*)@([^/\s\"']+)", content.decode("utf-8", "replace")):
            names = re.findall(r"\$\{([A-Z0-9_]+)\}", login)
            origins[host_of(host)] = " and ".join(dict.fromkeys(names))
    return origins


def variables_script(names: Iterable[str], settings: InstallerSettings) -> str:
    """The shell script, a secret, that sets the variables of an installation; empty where there is none.

    Args:
        names: the variables that addresses in the files name.
    """
    values = {name: _in_address(name, os.environ[name]) for name in names if name in os.environ}
    values |= dict(settings.variables)
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
    if settings.mirror:
        lines.append(f"TOOLKIT_MIRROR={shlex.quote(settings.mirror)}\n")
    return "".join(lines)


def _in_address(name: str, value: str) -> str:
    """A value as it stands in an address. Poetry's own variables have it as it is."""
    if not re.fullmatch(_LOGIN, name):
        return value
    from urllib.parse import quote

    return quote(value, safe="")


_SHORTEST = 6
"""Characters of a value that is looked for in a log: a shorter one is a part of other words."""


def secret_values(names: Iterable[str], settings: InstallerSettings) -> frozenset[str]:
    """What must not stand in a log: the values of variables that addresses name, and what is before ``@`` in an address."""
    from urllib.parse import quote, unquote

    found = {os.environ.get(name, "") for name in names}
    for name, value in settings.variables.items():
        found |= {value} if re.fullmatch(_LOGIN, name) else set()
    for text in (*settings.variables.values(), settings.pip_config, settings.mirror):
        for login in re.findall(r"://([^/\s@]+)@", text):
            # What is before a colon is no secret, unless nothing is behind it: then it is a token.
            user, _, password = login.partition(":")
            found |= {login, password or user}
    spellings = {spelled for one in found for spelled in (one, quote(one, safe=""), unquote(one))}
    return frozenset(one for one in spellings if len(one) >= _SHORTEST)
