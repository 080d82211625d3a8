"""What must be installed on the machine: containerd, runc, the CNI plug-ins, and nft or iptables for kube-proxy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from .build import writable_rmtree
from .places import HERE, Failed, cache, say

CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
CNI_PLUGINS = ("bridge", "host-local", "loopback")
# Programs, and the packages that have them. None of these starts a service.
PACKAGES = {"runc": "runc", "ip": "iproute2", "unshare": "util-linux", "mount": "mount"}


def extend_path() -> None:
    """Add the folders of root's programs to PATH, where the daemons look for programs as well."""
    present = os.environ.get("PATH", "").split(":")
    folders = ["/usr/local/sbin", "/usr/sbin", "/sbin", str(unpacked("containerd") / "usr/bin")]
    os.environ["PATH"] = ":".join([*present, *(folder for folder in folders if folder not in present)])


def cni_folder() -> str | None:
    for folder in CNI_FOLDERS:
        if all(os.access(f"{folder}/{plugin}", os.X_OK) for plugin in CNI_PLUGINS):
            return folder
    return None


def proxy_mode() -> str | None:
    modes = {"nft": "nftables", "iptables": "iptables"}
    return next((mode for program, mode in modes.items() if shutil.which(program)), None)


def missing() -> list[str]:
    """The packages that have to be installed."""
    names = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if not cni_folder():
        names.append("containernetworking-plugins")
    if not proxy_mode():
        names.append("iptables")
    return names


def ensure() -> None:
    """Install what is missing, on Debian as root."""
    extend_path()
    names = missing()
    if not names and shutil.which("containerd"):
        return
    set_up = engine_set_up()
    if not set_up.debian_root():
        lacking = [*names, *([] if shutil.which("containerd") else ["containerd"])]
        raise Failed(
            f"this machine lacks {', '.join(lacking)}: install them (they are installed for you only on Debian as root)"
        )
    try:
        if names:
            set_up.apt_install(*names)
    except set_up.Refused as error:
        raise Failed(str(error)) from error
    if not shutil.which("containerd"):
        unpack("containerd")
    if left := missing():
        raise Failed(f"{', '.join(left)} was installed, but its programs are not where they were expected")


def engine_set_up() -> ModuleType:
    """.ci/setup-engine as a module, for its installation of Debian's packages."""
    loader = SourceFileLoader("setup_engine", str(HERE.parents[1] / ".ci" / "setup-engine"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    # Its bytecode would be a stray file in the checkout.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def unpacked(package: str) -> Path:
    return cache() / f"debian-{package}"


def unpack(package: str) -> None:
    """Unpack a Debian package into the cache without installing it, because its installation would start a service."""
    folder = unpacked(package)
    say(f"fetching Debian's {package} into {folder}")
    cache().mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache()))
    os.chmod(work, 0o755)  # apt fetches as a user of its own
    log = cache() / f"{package}.log"
    with open(log, "wb") as output:
        for command in (["apt-get", "update"], ["apt-get", "download", package]):
            subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        archives = list(work.glob("*.deb"))
        done = archives and subprocess.run(
            ["dpkg-deb", "-x", str(archives[0]), str(work / "made")], stdout=output, stderr=output
        )
    if not done or done.returncode:
        raise Failed(f"Debian's {package} could not be fetched; all of the output is in {log}")
    if not folder.exists():
        os.rename(work / "made", folder)
    writable_rmtree(work)
