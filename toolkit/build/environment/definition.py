"""The definition of an environment image: base image, system packages and locked dependencies; its tag follows from these."""

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
    """The inputs of an environment image.

    Attributes:
        base: the base image's reference, as configured or by default.
        base_id: the base image's id; "" when the engine does not have it.
        packages: the system packages.
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
        """Whether the base image itself is the environment, because nothing is added."""
        return self.lock.kind == "none" and not self.packages

    def input_hashes(self) -> dict[str, str]:
        """Hashes of the inputs, by the names that `--explain` shows."""
        hashes = {"base image": self.base_id, "system packages": " ".join(sorted(set(self.packages)))}
        for name, content in sorted(self.lock.files.items()):
            hashes[f"lock {name}"] = hashlib.sha256(content).hexdigest()
        if not self.is_base:
            template = data_path(f"dockerfiles/{self.template}.Dockerfile").read_bytes()
            hashes["template"] = hashlib.sha256(template + UV_REQUIREMENT.encode()).hexdigest()
            hashes["kind"] = f"{self.template} {self.lock.file or ''}"
        return hashes

    @property
    def reference(self) -> str:
        """The environment image's own reference, or the base image's where nothing is added."""
        if self.is_base:
            return self.base
        key = hashlib.sha256(json.dumps(self.input_hashes(), sort_keys=True).encode()).hexdigest()
        return f"{REPOSITORY}:{key}"


def check_packages(packages: tuple[str, ...]) -> None:
    """Checks that all are names of packages, because they get onto a shell's command line.

    Raises:
        BadInput: one is not the name of a Debian package.
    """
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            raise BadInput(
                f"build.system_packages: {package!r} is not the name of a Debian package (name, name:arch or name=version)"
            )


def network_files(network: BuildNetwork, home: Path) -> dict[str, Path]:
    """The files that BuildKit mounts as secrets, by the secret's id.

    Args:
        home: the configuration file's folder, which relative paths start from.

    Raises:
        BadInput: a file is set but missing.
    """
    secrets: dict[str, Path] = {}
    for name, value in (("ca", network.ca_bundle), ("pip_config", network.pip_config), ("netrc", network.netrc)):
        if value is not None:
            path = home / Path(value).expanduser()
            if not path.is_file():
                raise BadInput(f"build.network names {value!r}, which is not a file")
            secrets[name] = path
    if "ca" not in secrets:
        for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"):
            file = os.environ.get(variable)
            if file and os.path.isfile(file):
                secrets["ca"] = Path(file)
                break
    return secrets
