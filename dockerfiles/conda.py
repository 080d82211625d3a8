"""Packages of conda, inside a build: solves an environment.yml, and installs what a lock holds.

    conda.py solve ENVIRONMENT ANSWER
    conda.py install LOCK PREFIX REQUIREMENTS [CATEGORY ...]

The answer of ``solve`` is a lock of pixi's form. ``install`` writes what the lock holds of Python's own packages to REQUIREMENTS,
for uv. What is wrong with the user's files is one line that begins with ``toolkit-says:``.
"""

import asyncio
import hashlib
import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import rattler
import yaml
from rattler import exceptions

DEFAULTS = ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")
"""What conda means by the channel ``defaults``."""
INDEX_FILES = "https://files.pythonhosted.org/"
NEEDED = {"__unix", "__linux", "__glibc"}
"""The virtual packages that are the same wherever the image runs. The processor and its GPU are not."""


class Refused(Exception):
    """A file of the user's can't be read, solved or installed."""


def main(arguments: list[str]) -> int:
    task, source, target, *others = arguments
    try:
        if task == "solve":
            asyncio.run(solve(Path(source), Path(target)))
        else:
            asyncio.run(install(Path(source), Path(target), Path(others[0]), others[1:]))
    except Refused as error:
        print(f"toolkit-says: {' '.join(str(error).split())}", flush=True)
        return 1
    return 0


def client() -> rattler.Client:
    trusted = "system" if os.environ.get("SSL_CERT_FILE") else "webpki"
    return rattler.Client.from_config(rattler.Config.from_toml(f'tls-root-certs = "{trusted}"'))


def platform() -> str:
    return str(rattler.Subdir.current())


# --- environment.yml --------------------------------------------------------------------------------------------------


async def solve(source: Path, answer: Path) -> None:
    document = yaml.load(source.read_text("utf-8"), yaml.CSafeLoader)
    channels = [address for name in document.get("channels") or ["defaults"] for address in addresses(str(name))]
    specs = []
    for line in document.get("dependencies") or []:
        if isinstance(line, str):
            try:
                specs.append(rattler.MatchSpec(line, strict=False))
            except exceptions.InvalidMatchSpecError as error:
                raise Refused(f"the dependency {line!r} can't be read: {error}") from None
    records = await solved(channels, specs)
    here = rattler.LockPlatform(platform())
    lock = rattler.LockFile([here])
    lock.set_channels("default", [rattler.LockChannel(rattler.Channel(one).base_url) for one in channels])
    for record in records:
        lock.add_conda_package("default", here, record)
    lock.to_path(answer)


async def solved(channels: list[str], specs: list[rattler.MatchSpec]) -> list[rattler.RepoDataRecord]:
    """The records that the specifications mean. A package comes from the first channel that has it, if it fits there."""
    for priority in (rattler.ChannelPriority.Strict, rattler.ChannelPriority.Disabled):
        try:
            return await rattler.solve(
                sources=[rattler.Channel(one) for one in channels],
                specs=specs,
                gateway=rattler.Gateway(client=client()),
                platforms=[platform(), "noarch"],
                virtual_packages=virtual_packages(),
                channel_priority=priority,
            )
        except exceptions.GatewayError as error:
            if re.search(r"\b40[134]\b|not found|No such file", str(error), re.IGNORECASE):
                raise Refused(f"one of its channels can't be read: {error}") from None
            raise
        except exceptions.SolverError as error:
            if priority == rattler.ChannelPriority.Disabled:
                raise Refused(f"no packages of its channels fit together: {error}") from None
    return []


def virtual_packages() -> list[rattler.GenericVirtualPackage]:
    found = [one.into_generic() for one in rattler.VirtualPackage.detect()]
    return [one for one in found if one.name.normalized in NEEDED]


def addresses(channel: str) -> list[str]:
    """The channels that a name in an environment.yml means."""
    if channel == "nodefaults":
        return []
    if channel == "defaults":
        return list(DEFAULTS)
    if channel.startswith(".") or (Path.cwd() / channel).is_dir():
        return [(Path.cwd() / channel).resolve().as_uri()]
    return [channel]


# --- Locks ------------------------------------------------------------------------------------------------------------


async def install(lock: Path, prefix: Path, requirements: Path, categories: list[str]) -> None:
    records, lines = of_pixi(lock) if lock.suffix == ".lock" else of_conda_lock(lock, categories)
    missing = [one.name.normalized for one in records if not (one.sha256 or one.md5)]
    if missing:
        raise Refused(f"the lock has no hash of {', '.join(missing)}: write it again")
    for one in records:
        check_local(one)
    requirements.write_text("".join(f"{line}\n" for line in lines))
    try:
        # conda runs the scripts of its packages, and pixi does not.
        scripts = lock.name != "pixi.lock"
        await rattler.install(records, prefix, show_progress=False, client=client(), execute_link_scripts=scripts)
    except exceptions.InstallerError as error:
        if re.search(r"hash|sha256|md5|checksum", str(error), re.IGNORECASE):
            raise Refused(f"a package does not match its hash in the lock: {error}") from None
        raise
    print(f"{len(records)} packages of conda", flush=True)


def check_local(record: rattler.RepoDataRecord) -> None:
    """Compares a package that is a file with its hash: rattler does so only for what it downloads."""
    if "://" in record.url and not record.url.startswith("file:"):
        return
    path = Path(unquote(urlsplit(record.url).path))
    kind = "sha256" if record.sha256 else "md5"
    try:
        digest = hashlib.new(kind, path.read_bytes()).digest()
    except OSError as error:
        raise Refused(f"the package {record.url} can't be read: {error.strerror}") from None
    if digest != getattr(record, kind):
        raise Refused(f"the package {record.name.normalized} does not match its hash in the lock: write it again")


def of_pixi(path: Path) -> tuple[list[rattler.RepoDataRecord], list[str]]:
    try:
        lock = rattler.LockFile.from_path(path)
    except exceptions.ParseCondaLockError as error:
        raise Refused(f"it can't be read: {error}") from None
    environment = lock.default_environment()
    if environment is None:
        raise Refused("it has no environment 'default'")
    here = next((one for one in environment.platforms() if str(one.subdir) == platform()), None)
    if here is None:
        has = ", ".join(str(one.subdir) for one in environment.platforms()) or "none"
        raise Refused(
            f"it has no packages for {platform()} (it has: {has}): add the platform, as with "
            f"`pixi workspace platform add {platform()}`"
        )
    lines = []
    for package in environment.packages(here) or []:
        if isinstance(package, rattler.CondaLockedSourcePackage):
            raise Refused(f"{package.name} is built from its sources, which pixi does: publish it in a channel")
        if isinstance(package, rattler.PypiLockedPackage):
            try:
                digest = package.hashes.sha256 if package.hashes else None
            except AttributeError:
                digest = None  # py-rattler wraps the hashes of a package that has none, too
            lines += requirement(package.name, str(package.version), package.location, digest.hex() if digest else "")
    return environment.conda_repodata_records_for_platform(here) or [], lines


def requirement(name: str, version: str, location: str, digest: str) -> list[str]:
    """The line for a package of Python's own; none for the project itself."""
    if location in (".", "./"):
        return []
    verified = f" --hash=sha256:{digest}" if digest else ""
    if location.startswith(INDEX_FILES) and digest:
        # By its name, so that a mirror of the index serves as well.
        return [f"{name}=={version}{verified}"]
    if "://" not in location:
        location = (Path.cwd() / location).resolve().as_uri()
    return [f"{name} @ {location}{verified}"]


def of_conda_lock(path: Path, categories: list[str]) -> tuple[list[rattler.RepoDataRecord], list[str]]:
    document = yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)
    if not isinstance(document, dict) or not isinstance(document.get("package"), list):
        raise Refused("it is not a lock that conda-lock wrote")
    chosen = {"main", *categories}
    records, lines, has = [], [], set()
    for one in document["package"]:
        has.add(one["platform"])
        if one["platform"] != platform() or one.get("category", "main") not in chosen:
            continue
        hashes = one.get("hash") or {}
        if one.get("manager") == "pip":
            lines += requirement(one["name"], str(one["version"]), one["url"], hashes.get("sha256", ""))
        else:
            records.append(record(one["name"], str(one["version"]), one["url"], hashes, one.get("dependencies") or {}))
    if platform() not in has:
        raise Refused(
            f"it has no packages for {platform()} (it has: {', '.join(sorted(has)) or 'none'}): write it again with "
            f"`conda-lock lock -p {platform()}`"
        )
    return records, lines


def record(
    name: str, version: str, url: str, hashes: dict[str, str], depends: dict[str, str]
) -> rattler.RepoDataRecord:
    channel, subdir, file = url.rsplit("/", 2)
    build = re.sub(r"\.(conda|tar\.bz2)$", "", file).rsplit("-", 1)[-1]
    number = re.search(r"(\d+)$", build)
    package = rattler.PackageRecord(
        name,
        version,
        rattler.BuildString(build),
        int(number[1]) if number else 0,
        subdir,
        depends=[f"{key} {value}".strip() for key, value in depends.items()],
        sha256=bytes.fromhex(hashes["sha256"]) if hashes.get("sha256") else None,
        md5=bytes.fromhex(hashes["md5"]) if hashes.get("md5") else None,
    )
    return rattler.RepoDataRecord(package, file, url, channel)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # Threads of rattler still end while an interpreter would already be torn down, which can abort it.
    os._exit(code)
