"""What decides an environment image: base, system packages and locked dependencies; and its name, which follows."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from toolkit.build.environment.locks import Lock
from toolkit.config.settings import BuildNetwork
from toolkit.data import data_path
from toolkit.errors import BadInput

REPOSITORY = "toolkit-env"
UV_REQUIREMENT = "uv>=0.5,<1"
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*(?::[a-z0-9]+)?(?:=[A-Za-z0-9.+:~-]+)?")


@dataclass(frozen=True)
class EnvironmentDefinition:
    """What decides an environment.

    Attributes:
        base: the base image's reference, as configured or by default.
        base_id: that image's id.
    """

    base: str
    base_id: str
    packages: tuple[str, ...]
    lock: Lock

    @property
    def template(self) -> str:
        return "system" if self.lock.kind == "none" else self.lock.kind

    @property
    def is_base(self) -> bool:
        """Nothing is added, so the base image is the environment."""
        return self.lock.kind == "none" and not self.packages

    def parts(self) -> dict[str, str]:
        """Hashes of what decides it, by a name that `--explain` shows."""
        parts = {"base image": self.base_id, "system packages": " ".join(sorted(set(self.packages)))}
        for name, content in sorted(self.lock.files.items()):
            parts[f"lock {name}"] = hashlib.sha256(content).hexdigest()
        if not self.is_base:
            template = data_path(f"dockerfiles/{self.template}.Dockerfile").read_bytes()
            parts["template"] = hashlib.sha256(template + UV_REQUIREMENT.encode()).hexdigest()
            parts["kind"] = f"{self.template} {self.lock.file or ''}"
        return parts

    @property
    def reference(self) -> str:
        """The environment's own tag, or the base's reference where nothing is added."""
        if self.is_base:
            return self.base
        key = hashlib.sha256(json.dumps(self.parts(), sort_keys=True).encode()).hexdigest()
        return f"{REPOSITORY}:{key}"


def check_packages(packages: tuple[str, ...]) -> None:
    """They are put on a command line of a shell, so nothing else than a package's name may be in them.

    Raises:
        BadInput: one is no Debian package's name.
    """
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            raise BadInput(
                f"build.system_packages: {package!r} is no name of a Debian package (name, name:arch or name=version)"
            )


def network_files(network: BuildNetwork, home: Path) -> dict[str, Path]:
    """The files that the build mounts as secrets, by id; `home` is the configuration file's folder, for relative paths.

    Raises:
        BadInput: one is set but missing.
    """
    secrets: dict[str, Path] = {}
    for name, value in (("ca", network.ca_bundle), ("pip_config", network.pip_config), ("netrc", network.netrc)):
        if value is not None:
            path = home / Path(value).expanduser()
            if not path.is_file():
                raise BadInput(f"build.network names {value!r}, which is no file")
            secrets[name] = path
    if "ca" not in secrets:
        for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"):
            found = os.environ.get(variable)
            if found and os.path.isfile(found):
                secrets["ca"] = Path(found)
                break
    return secrets
