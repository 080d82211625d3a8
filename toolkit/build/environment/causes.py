"""The table of reasons for which an environment can't be built: what a tool prints, and the sentence that says what to do.

The first cause whose pattern is found in the failing step's own words counts. So what leads to other messages comes first: without
a network, packages are "not found" as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from toolkit.build.environment.dependencies.remedies import command

Kind = Literal["input", "fault", "passing"]
"""Whose fault it is: the user's input; the network, disk or engine; or a fault of these that may be gone a moment later."""


@dataclass(frozen=True)
class Cause:
    """One reason.

    Attributes:
        pattern: a regular expression, by lines (``^`` and ``$``). Its named groups are names in the sentence.
        sentence: with ``{}`` for names: the pattern's groups, ``base``, ``file`` (what the dependencies are declared in),
            ``package`` (the one at fault, or "a package"), ``index`` (what packages come from),
            and ``add`` (what :data:`PACKAGES` says of the group ``needs``).
        setting: the setting at fault; "" where it is a file or nothing of the user's.
    """

    pattern: str
    sentence: str
    kind: Kind = "input"
    setting: str = ""


def _any(*alternatives: str) -> str:
    """One of these. A group may have the same name in several of them: digits tell them apart."""
    return "|".join(
        re.sub(r"\(\?P<([a-z]+)>", rf"(?P<\g<1>{number}>", one) for number, one in enumerate(alternatives, 10)
    )


BUILD_SETTING = "build.build_packages"
"""The setting that has the Debian packages which are there while packages are built, and not in the image."""

COMPILER = "gcc, libc6-dev, python3-dev"
PACKAGES = {
    # Programs.
    "git": "git",
    "gcc": COMPILER,
    "cc": COMPILER,
    "c++": f"g++, {COMPILER}",
    "g++": f"g++, {COMPILER}",
    "cc1plus": f"g++, {COMPILER}",
    "gfortran": "gfortran",
    "make": "make",
    "cmake": "cmake",
    "ninja": "ninja-build",
    "pkg-config": "pkg-config",
    "rustc": "rustc, cargo",
    "cargo": "rustc, cargo",
    "swig": "swig",
    "ssh": "openssh-client",
    "pg_config": f"libpq-dev, {COMPILER}",
    "mysql_config": f"default-libmysqlclient-dev, pkg-config, {COMPILER}",
    "curl-config": f"libcurl4-openssl-dev, libssl-dev, {COMPILER}",
    "xml2-config": f"libxml2-dev, libxslt1-dev, {COMPILER}",
    "xslt-config": f"libxml2-dev, libxslt1-dev, {COMPILER}",
    "gdal-config": f"libgdal-dev, g++, {COMPILER}",
    "llvm-config": "llvm-dev",
    "krb5-config": f"libkrb5-dev, {COMPILER}",
    "nc-config": "libnetcdf-dev",
    "h5cc": "libhdf5-dev",
    # Headers, modules of pkg-config and libraries for the linker.
    "Python.h": "python3-dev",
    "pyconfig.h": "python3-dev",
    "stdio.h": "libc6-dev",
    "stdlib.h": "libc6-dev",
    "limits.h": "libc6-dev",
    "libpq-fe.h": "libpq-dev",
    "libpq": "libpq-dev",
    "pq": "libpq-dev",
    "ffi.h": "libffi-dev",
    "libffi": "libffi-dev",
    "ffi": "libffi-dev",
    "openssl": "libssl-dev",
    "ssl": "libssl-dev",
    "crypto": "libssl-dev",
    "mysql.h": "default-libmysqlclient-dev",
    "mysqlclient": "default-libmysqlclient-dev",
    "libxml": "libxml2-dev",
    "libxml-2.0": "libxml2-dev",
    "xml2": "libxml2-dev",
    "libxslt": "libxslt1-dev",
    "xslt": "libxslt1-dev",
    "zlib.h": "zlib1g-dev",
    "zlib": "zlib1g-dev",
    "z": "zlib1g-dev",
    "bzlib.h": "libbz2-dev",
    "lzma.h": "liblzma-dev",
    "jpeglib.h": "libjpeg-dev",
    "png.h": "libpng-dev",
    "ft2build.h": "libfreetype-dev",
    "freetype2": "libfreetype-dev",
    "cairo.h": "libcairo2-dev",
    "cairo": "libcairo2-dev",
    "gobject-introspection-1.0": "libgirepository1.0-dev",
    "glib-2.0": "libglib2.0-dev",
    "glib.h": "libglib2.0-dev",
    "dbus-1": "libdbus-1-dev",
    "sql.h": "unixodbc-dev",
    "sqlext.h": "unixodbc-dev",
    "sqlite3.h": "libsqlite3-dev",
    "curl": "libcurl4-openssl-dev",
    "libcurl": "libcurl4-openssl-dev",
    "ldap.h": "libldap-dev",
    "lber.h": "libldap-dev",
    "sasl": "libsasl2-dev",
    "gssapi": "libkrb5-dev",
    "krb5.h": "libkrb5-dev",
    "hdf5.h": "libhdf5-dev",
    "hdf5": "libhdf5-dev",
    "gdal.h": "libgdal-dev",
    "geos_c.h": "libgeos-dev",
    "proj.h": "libproj-dev",
    "gmp.h": "libgmp-dev",
    "mpfr.h": "libmpfr-dev",
    "mpi.h": "libopenmpi-dev",
    "cblas.h": "libopenblas-dev",
    "openblas": "libopenblas-dev",
    "portaudio.h": "portaudio19-dev",
    "sndfile.h": "libsndfile1-dev",
    "snappy-c.h": "libsnappy-dev",
    "snappy.h": "libsnappy-dev",
    "librdkafka": "librdkafka-dev",
    "zmq.h": "libzmq3-dev",
    "yaml.h": "libyaml-dev",
    "magic.h": "libmagic-dev",
    "pcap.h": "libpcap-dev",
    "usb.h": "libusb-1.0-0-dev",
    "libusb-1.0": "libusb-1.0-0-dev",
    "systemd": "libsystemd-dev",
    "libsystemd": "libsystemd-dev",
    "libudev.h": "libudev-dev",
    "libavformat": "libavformat-dev",
    "X11": "libx11-dev",
    "GL": "libgl-dev",
    "boost": "libboost-all-dev",
    "Eigen": "libeigen3-dev",
}
"""The Debian packages that have a program, a header (by its name or its folder), a module of pkg-config or a library."""

_COMPILERS = r"gcc|cc|g\+\+|c\+\+|gfortran|clang"
_PROGRAMS = (
    r"git|make|cmake|ninja|pkg-config|rustc|cargo|swig|ssh|pg_config|mysql_config|curl-config|xml2-config|xslt-config|gdal-config|"
    r"llvm-config|krb5-config|nc-config|h5cc"
)


def _missing(names: str) -> tuple[str, ...]:
    """What the shell, Python and the distutils of two ages say of a program that is not there."""
    program = rf"(?:[a-z0-9_]+-linux-gnu-|/usr/bin/)*(?P<needs>{names})"
    return (
        rf"No such file or directory: '{program}'",
        rf"command '{program}' failed: No such file or directory",
        rf"unable to execute '{program}'",
        rf"(?:^|: ){program}(?:-\d+)?: (?:command )?not found",
    )


def _add(packages: str) -> str:
    return f"add to {BUILD_SETTING}: [{packages}]"


_ADD = _add("{add}")
_FETCHING = r"Failed to fetch: `?(?P<words>[^\s`]+)`?\n(?:  cause: [^\n]*\n)*?  cause: [^\n]*"
_LOST = (
    "the {what} can't be reached from the build ({words}): check the connection, and behind a proxy set build.network"
)

CAUSES: tuple[Cause, ...] = (
    # --- locks -----------------------------------------------------------------------------------------------------------
    Cause(
        r"[Ll]ockfile .{0,80}needs to be updated",
        f"the lock does not match pyproject.toml: run {command('uv lock')}",
    ),
    Cause(
        r"pyproject\.toml changed significantly",
        f"the lock does not match pyproject.toml: run {command('poetry lock')}",
    ),
    Cause(
        r"Lockfile doesn't satisfy the project",
        f"the lock does not match pyproject.toml: run {command('pdm lock --lockfile {file}')}",
    ),
    Cause(
        r"Pipfile\.lock is out-of-date",
        f"the lock does not match the Pipfile: run {command('pipenv lock')}",
    ),
    Cause(
        r"[Ll]ock ?file is not compatible",
        "the lock was written by a version of its tool that is too old or too new to be read: write it again with the "
        "tool's current version",
    ),
    Cause(
        r"Group\(s\) not found:? *(?P<words>[^\n(]*)",
        "build.groups: the project has no group {words}",
        setting="build.groups",
    ),
    Cause(
        r"Group `(?P<words>[^`]+)` is not defined",
        "build.groups: the project has no group {words}",
        setting="build.groups",
    ),
    Cause(
        r"(?:Extra \[|Extra `)(?P<words>[^\]`]*)[\]`] is not (?:specified|defined)",
        "build.extras: the project has no extra {words}",
        setting="build.extras",
    ),
    Cause(
        r"Failed to parse `?(?:uv\.lock|lockfile)",
        f"the lock can't be read by uv: run {command('uv lock')}",
    ),
    Cause(
        r"Required uv version `(?P<words>[^`]+)` does not match",
        "tool.uv.required-version asks for uv {words}, which is not what installs here",
    ),
    # --- hashes ----------------------------------------------------------------------------------------------------------
    Cause(
        _any(
            r"DO NOT MATCH THE HASHES[^\n]*(?:\n\s*(?P<named>\S+) from)?",
            r"Hash mismatch for `(?P<named>[^`]+)`",
            r"[Hh]ash(?:es)? mismatch",
        ),
        "{package} does not match its hash: if it was meant to change, write {file} again with {rewrite}",
    ),
    Cause(
        r"(?:In )?`?--require-hashes`? mode[^\n]*\n?\s*(?P<named>[A-Za-z0-9][\w.\[\]-]*==\S+)?",
        "some packages have hashes and others have none: write all of them, with {rewrite}",
    ),
    # --- the machine -----------------------------------------------------------------------------------------------------
    Cause(
        _any(
            r"[Nn]o space left on device",
            r"Disk quota exceeded",
            r"not have enough free space",
        ),
        f"the Docker engine's disk is full: free some space ({command('docker system df')} shows what takes it)",
        "fault",
    ),
    Cause(
        _any(
            r"^toolkit-exit: 137$",
            r"SIGKILL",
            r"exit code: -9$",
            r"Killed signal terminated program",
            r"^Killed$",
            r"MemoryError",
            r"Cannot allocate memory",
            r"OutOfMemory",
        ),
        "{package} was killed while it was installed, as happens where memory runs out: give the engine more memory, or"
        " name a version that has a wheel",
        "fault",
    ),
    # --- the base image --------------------------------------------------------------------------------------------------
    Cause(
        _any(
            r"python3: (?:command )?not found",
            r"exec: \"python3\"",
        ),
        "build.base_image: the image {base} has no python3: name one that has",
        setting="build.base_image",
    ),
    Cause(
        _any(
            r"ensurepip is not",
            r"No module named '?venv",
        ),
        "build.base_image: the Python of {base} has no venv: add python3-venv to it, or name another",
        setting="build.base_image",
    ),
    Cause(
        r"apt-get: (?:command )?not found",
        "build.system_packages: the base image {base} is not based on Debian, so nothing can be installed by apt",
        setting="build.system_packages",
    ),
    # --- apt -------------------------------------------------------------------------------------------------------------
    Cause(
        _any(
            r"Temporary failure resolving '(?P<words>[^']+)'",
            r"^E: Failed to fetch (?P<words>\S+) +(?:Connection (?:failed|timed out)|Could not connect|50\d |Error reading)",
            r"File has unexpected size",
            r"Hash Sum mismatch",
            r"Could not connect to (?P<words>\S+) \([^\n]*timed out",
            r"Release file .* is not valid yet",
        ),
        "the Debian mirror can't be reached from the build, or is being updated ({words}): check the connection, and "
        "behind a proxy set build.network",
        "passing",
    ),
    Cause(
        _any(
            r"^E: (?P<words>Failed to fetch[^\n]*|Some index files failed to download[^\n]*)",
            r"^E: (?P<words>The repository [^\n]*(?:Release|signed)[^\n]*)",
            r"^W: (?P<words>Failed to fetch[^\n]*)",
        ),
        "the Debian mirror can't be read from the build ({words}): check the connection, and behind a proxy set "
        "build.network",
        "fault",
    ),
    Cause(
        r"^E: Version '(?P<words>[^']+)' for '(?P<apt>[^']+)' was not found",
        "{setting}: the base image's Debian has no version {words} of {apt}: leave the version out, or name another",
        setting="apt",
    ),
    Cause(
        _any(
            r"^E: Unable to locate package (?P<apt>\S+)",
            r"^E: Package '(?P<apt>[^']+)' has no installation candidate",
            r"^E: Couldn't find any package by (?:glob|regex) '(?P<apt>[^']+)'",
        ),
        "{setting}: the base image's Debian has no {apt}: correct the name, or remove it",
        setting="apt",
    ),
    Cause(
        r"^E: Unable to correct problems, you have held broken packages",
        "build.system_packages: these packages can't be installed together",
        setting="build.system_packages",
    ),
    # --- Git -------------------------------------------------------------------------------------------------------------
    Cause(
        _any(*_missing("git"), r"Cannot find command 'git'", r"Git executable not found"),
        f"{{package}} comes from a Git repository, and there is no git: {_add('git')} (or to "
        "build.system_packages, where steps need it)",
    ),
    Cause(
        r"cannot run ssh: No such file",
        f"{{package}} comes from a Git repository over SSH, and there is no ssh: {_add('openssh-client')}, or use its "
        "https address",
    ),
    Cause(
        _any(
            r"Could not resolve host: (?P<words>\S+)",
            r"unable to access '[^']*': (?P<words>The requested URL returned error: 5\d\d|Recv failure[^\n]*)",
            r"unable to access '[^']*': (?P<words>[^\n]*(?:timed out|Empty reply)[^\n]*)",
            r"fatal: (?P<words>early EOF|the remote end hung up[^\n]*)",
            r"ssh: Could not resolve hostname (?P<words>[^:\s]+)",
        ),
        _LOST.replace("{what}", "Git repository of {package}"),
        "passing",
    ),
    Cause(
        _any(
            r"could not read Username for '(?P<words>[^']+)'",
            r"Authentication failed for '(?P<words>[^']+)'",
            r"unable to access '(?P<words>[^']+)': The requested URL returned error: 40[13]",
        ),
        "the Git repository of {package} asks for a login ({words}): let Git on this machine have one (a credential helper, or "
        "~/.netrc), or put ${NAME} into the address",
    ),
    Cause(
        r"Host key verification failed",
        "the SSH key of {package}'s Git host is in no known_hosts of this machine: connect to it once by ssh, and compare the key",
    ),
    Cause(
        r"(?P<words>Permission denied \(publickey[^\n]*)",
        "the Git repository of {package} asks for an SSH key ({words}): let an agent of this machine have one (ssh-add; it is "
        "found by SSH_AUTH_SOCK), or name a key without a passphrase in build.network.ssh",
    ),
    Cause(
        _any(
            r"fatal: repository '(?P<words>[^']+)' not found",
            r"remote: Repository not found",
            r"does not appear to be a git repository",
        ),
        "the Git repository of {package} does not exist, or asks for a login: correct its address",
    ),
    Cause(
        _any(
            r"couldn't find remote ref (?:refs/(?:tags|heads)/)?(?P<words>\S+)",
            r"pathspec '(?P<words>[^']+)' did not match",
            r"Remote branch (?P<words>\S+) not found",
        ),
        "the Git repository of {package} has no branch, tag or commit {words}",
    ),
    Cause(
        r"unable to access '[^']*': (?P<words>[^\n]*(?:certificate|SSL)[^\n]*)",
        "the certificate of {package}'s Git repository is unknown ({words}): name the file of its authority in "
        "build.network.ca_bundle",
        "fault",
    ),
    Cause(
        _any(
            r"unable to access '[^']*': (?P<words>[^\n]*)",
            r"ssh: connect to host (?P<words>[^\n]*)",
        ),
        _LOST.replace("{what}", "Git repository of {package}"),
        "fault",
    ),
    # --- compilers, headers, libraries -----------------------------------------------------------------------------------
    Cause(
        r"fatal error: (?P<header>[\w./+-]+): No such file or directory",
        "{package} is compiled here, and the header {header} is missing: {header_remedy}",
    ),
    Cause(
        r"cannot execute ‘(?P<needs>cc1plus)’",
        f"{{package}} is compiled here, and there is no compiler for C++: {_ADD}",
    ),
    Cause(
        _any(
            *_missing(_COMPILERS),
            r"CMAKE_(?P<needs>C|CXX)_COMPILER not set",
            r"Unknown compiler\(s\): \[\['(?P<needs>cc|c\+\+|gfortran)'",
            r"linker `(?P<needs>cc)` not found",
            r"[Nn]o acceptable C compiler",
        ),
        f"{{package}} has no wheel for this Python and is compiled, and there is no compiler: {_ADD}",
    ),
    Cause(
        _any(
            r"can't find Rust compiler",
            r"Rust toolchain.{0,60}not found",
            r"requires Rust",
            r"Cargo, the Rust package manager, is not installed",
            r"Unsupported platform: .*rust",
        ),
        f"{{package}} has no wheel for this Python and is compiled, and there is no compiler for Rust: "
        f"{_add('rustc, cargo, gcc, libc6-dev')}, or name a version that has a wheel",
    ),
    Cause(
        _any(
            r"pg_config executable not found",
            r"Error: (?P<needs>pg_config)",
        ),
        f"{{package}} is compiled here, and pg_config is missing: {_add(PACKAGES['pg_config'])}; or use "
        "psycopg2-binary",
    ),
    Cause(
        _any(
            r"mysql_config: (?:command )?not found",
            r"mysql_config not found",
            r"Trying pkg-config --exists mysqlclient",
            r"MYSQLCLIENT_CFLAGS",
        ),
        f"{{package}} is compiled here, and the files of MySQL's client are missing: {_add(PACKAGES['mysql_config'])}",
    ),
    Cause(
        _any(
            r"Pkg-config for machine [^\n]*not found",
            r"pkg-config(?:'?) (?:is )?(?:not found|required)",
            r"Did not find pkg-config[^\n]*\n(?!.*Found pkg)(?=[\s\S]*ERROR)",
            r"pkg-config: (?:command )?not found",
        ),
        f"{{package}} is compiled here, and pkg-config is missing: {_add('pkg-config')}",
    ),
    Cause(
        _any(
            r"Package '?(?P<module>[\w.+-]+)'?, required by",
            r"Package (?P<module>[\w.+-]+) was not found in the pkg-config search path",
            r"Dependency \"(?P<module>[\w.+-]+)\" not found",
            r"No package '(?P<module>[^']+)' found",
        ),
        "{package} is compiled here, and the library {module} is missing: {module_remedy}",
    ),
    Cause(
        r"cannot find -l(?P<library>[\w.+-]+)",
        "{package} is compiled here, and the library {library} is missing: {library_remedy}",
    ),
    Cause(
        r"Please make sure the libxml2 and libxslt development packages are installed",
        f"{{package}} is compiled here, and the files of libxml2 are missing: {_add(PACKAGES['xml2-config'])}",
    ),
    Cause(
        _any(
            *_missing(_PROGRAMS),
            r"CMake must be installed",
            r"CMAKE_MAKE_PROGRAM is not set",
            r"[Cc]ould not find `?(?P<needs>cmake|ninja)",
        ),
        f"{{package}} is compiled here, and {{needs}} is missing: {_ADD}",
    ),
    # --- the index -------------------------------------------------------------------------------------------------------
    Cause(
        _any(
            r"CERTIFICATE_VERIFY_FAILED",
            r"UnknownIssuer",
            r"invalid peer certificate",
            r"certificate verify failed",
            r"Certificate verification failed",
        ),
        "the {index}'s certificate is unknown in the build: name the file of its authority in build.network.ca_bundle",
        "fault",
    ),
    Cause(
        _any(
            r"ProxyError",
            r"tunnel error",
            r"Cannot connect to proxy",
        ),
        "the proxy does not let the build through to the {index}: check HTTPS_PROXY and NO_PROXY of this shell",
        "fault",
    ),
    Cause(
        r"The repository located at (?P<words>\S+) is not a trusted or secure host and is being ignored",
        "pip does not ask the index at {words}, whose address is http: name the host in PIP_TRUSTED_HOST, or by --trusted-host "
        "in {file}, or use https",
    ),
    Cause(
        _any(
            r"^toolkit-index: (?P<code>40[13]) (?P<words>\S+)",
            r"401 Error, Credentials not correct for (?P<words>\S+)",
            r"An index(?: URL)? \((?P<words>[^)]+)\)[^\n]*(?:401 Unauthorized|403 Forbidden)",
            r"HTTP status client error \(40[13][^)]*\) for url \((?P<words>[^)]+)\)",
            r"40[13] Client Error[^\n]* for url: (?P<words>\S+)",
        ),
        "the {index} refuses the build's credentials, or gets none ({words}), and no other index is asked then: {login}",
    ),
    Cause(
        r"^toolkit-unreached: (?P<words>\S+)",
        "the {index} that has a login does not answer ({words}), and no other index is asked then: check the connection",
        "passing",
    ),
    Cause(
        _any(
            r"^toolkit-index: (?P<words>(?:5\d\d|429) \S+)",
            r"HTTP status (?:server|client) error \((?P<words>(?:5\d\d|429)[^)\n]*)\)",
            r"(?P<words>50[234] +(?:Bad Gateway|Service Unavailable|Gateway)[^\n]*)",
            r"(?P<words>(?:5\d\d Server|429 Client) Error[^\n]*)",
        ),
        "the {index} has a fault of its own ({words})",
        "passing",
    ),
    Cause(
        _any(rf"{_FETCHING}Connection refused", r"(?P<words>Network is unreachable|Connection refused)"),
        _LOST.replace("{what}", "{index}"),
        "fault",
    ),
    Cause(
        _any(
            rf"{_FETCHING}(?:dns error|tcp connect error|error sending request|timed out)",
            r"error sending request for url \((?P<words>[^)\n]+)\)",
            r"NewConnectionError\([^\n]*?\[Errno -?\d+\] (?P<words>[^')\n]+)",
            r"(?P<words>Temporary failure in name resolution|dns error|NewConnectionError|Could not connect to[^\n]*)",
            r"(?P<words>tcp connect error|error sending request|ConnectTimeout|Read timed out|[Cc]onnection timed out)",
            r"(?P<words>operation timed out|Connection reset by peer|Connection broken|Connection failed|Remote end closed)",
            r"(?P<words>IncompleteRead|error decoding response body)",
        ),
        _LOST.replace("{what}", "{index}"),
        "passing",
    ),
    Cause(
        r"(?P<words>Name or service not known)",
        _LOST.replace("{what}", "{index}"),
        "fault",
    ),
    # --- versions --------------------------------------------------------------------------------------------------------
    Cause(
        _any(
            r"^toolkit-python: (?P<named>\S+) (?P<words>.+)$",
            r"current Python version \([^)]*\) does not satisfy Python(?P<words>[^\s,]+) and (?P<named>\S+) depends on",
            r"Package '(?P<named>[^']+)' requires a different Python: \S+ not in '(?P<words>[^']+)'",
        ),
        "{package} needs Python {words}, and the base image {base} has another: name one that has in build.base_image "
        "or build.python, or another version of the package",
    ),
    Cause(
        _any(
            r"requested interpreter resolves to Python (?P<words>\S+), which is incompatible",
            r"requires-python",
            r"Requires-Python.*(?:incompatible|not supported)",
            r"project's Python requirement",
            r"No interpreter found",
            r"is not supported by the project",
        ),
        "the project needs another version of Python than the base image {base} has: name one with that version in "
        "build.base_image or build.python",
    ),
    Cause(
        _any(
            r"^toolkit-platforms: (?P<named>\S+) (?P<words>.+)$",
            r"(?P<named>\S{1,200}) has no wheels with a matching platform tag[\s\S]*?following platforms?: (?P<words>[^\n]*)",
            r"(?P<named>\S{1,200}) has no wheels with a matching platform tag",
        ),
        "there is nothing of {package} for this platform{only}: remove it, or say where it is needed, as with `; "
        "sys_platform == 'win32'`",
    ),
    Cause(
        r"^(?:ERROR: )?(?P<named>\S{1,200}\.whl) is not a supported wheel on this platform",
        "the wheel {package} is for another platform or another Python than the base image {base} has",
    ),
    Cause(
        _any(
            r"^toolkit-tags: (?P<named>\S+) (?P<words>.+)$",
            r"(?P<named>\S{1,200}) has no wheels with a matching Python [\s\S]*?tags?: (?P<words>[^\n]*)",
            r"(?P<named>\S{1,200}) has no wheels with a matching Python",
        ),
        "{package} has wheels for other versions of Python alone{only}: name a base image that has one of them in "
        "build.base_image or build.python, or another version of the package",
    ),
    Cause(
        r"(?P<named>\S{1,200}) has no usable wheels",
        "{package} has no wheel for this platform and Python, and building from source is off",
    ),
    Cause(
        _any(
            r"The conflict is caused by:\n(?P<conflict>(?:[ \t]+\S[^\n]*\n)+)",
            r"(?P<conflict>Because [\s\S]*?depends on[\s\S]*?)\n(?:hint|$)",
            r"ResolutionImpossible",
        ),
        "no versions fit together: {conflict}",
    ),
    Cause(
        _any(
            r"^toolkit-index: 404 (?P<words>\S+)",
            r"(?P<named>\S{1,200}) was not found in (?:the package registry|the cache|the provided package)",
            r"HTTP status client error \(404[^)]*\) for url \((?P<words>[^)]+)\)",
            r"HTTP error 404 while getting (?P<words>\S+)",
        ),
        "{package} does not exist on the package index: correct its name, or name the index that has it",
    ),
    Cause(
        _any(
            r"there (?:is|are) no versions? of (?P<named>\S+)",
            r"only (?P<words>[^\n]*) (?:is|are) available",
        ),
        "the package index has no such version of {package}: name one that exists",
    ),
    Cause(
        r"Could not find a version that satisfies the requirement (?P<named>\S+)[^\n]*\(from versions: (?P<versions>[^)]*)\)",
        "{no_version}",
    ),
    Cause(
        r"No matching distribution found for (?P<named>\S+)",
        "the package index has no {package} for this platform and Python",
    ),
    Cause(
        _any(
            r"Invalid requirement: '(?P<words>[^']+)'",
            r"Failed to parse: `(?P<words>[^`]+)`",
            r"Couldn't parse requirement in `[^`]+` at [^\n]*",
            r"(?P<words>Invalid requirement[^\n]*)",
        ),
        "this is no requirement: {words}",
    ),
    Cause(
        _any(
            r"does not appear to be a Python project",
            r"neither 'setup\.py' nor 'pyproject\.toml' found",
        ),
        "{package} is no Python project: there is no pyproject.toml and no setup.py in it",
    ),
    # --- the package's own -----------------------------------------------------------------------------------------------
    Cause(
        _any(
            r"subprocess-exited-with-error",
            r"metadata-generation-failed",
            r"Failed building wheel",
            r"The build backend returned an error",
            r"Failed to build",
            r"legacy-install-failure",
        ),
        "{package} can't be built: {exception}",
    ),
)
