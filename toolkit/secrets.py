"""Secrets on the host: names looked up in the process's environment and in a .env file.

A value is never part of a message.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from toolkit.config.dotenv import read_dotenv
from toolkit.config.located import shown
from toolkit.errors import BadInput
from toolkit.project import Project


@dataclass(frozen=True)
class Provider:
    """Where secrets come from in an environment that is not Kubernetes.

    Attributes:
        type: ``env-secrets`` looks in the environment, then in the file; ``dotenv`` in the file alone; ``do-nothing``
            nowhere.
        file: the .env file.
        prefix: NAME is looked up as prefix + NAME + suffix.
        environ: the process's environment; kept out of the repr, because it holds the values.
    """

    type: Literal["env-secrets", "dotenv", "do-nothing"]
    file: Path
    prefix: str = ""
    suffix: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    def lookup(self, names: Iterable[str]) -> dict[str, str]:
        """Those of the secrets that there are, in the order of the names. An empty value is a value.

        Raises:
            BadInput: the .env file is needed and is malformed, or with ``dotenv`` does not exist.
        """
        wanted = {name: f"{self.prefix}{name}{self.suffix}" for name in names}
        if self.type == "do-nothing" or not wanted:
            return {}
        here = self.environ if self.type == "env-secrets" else {}
        # The file is read only when it is needed, so that one which is another program's can't be in the way.
        needs_file = any(spelt not in here for spelt in wanted.values())
        values = self._from_file() if needs_file else {}
        found = {name: here.get(spelt, values.get(spelt)) for name, spelt in wanted.items()}
        present = {name: value for name, value in found.items() if value is not None}
        for name, value in present.items():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadInput(f"the value of the secret {name} is not UTF-8 text") from None
        return present

    def require(self, names: Iterable[str]) -> dict[str, str]:
        """All of the secrets; ``do-nothing`` requires none and gives none.

        Raises:
            BadInput: naming every one that is missing, and where it was looked for.
        """
        names = tuple(dict.fromkeys(names))
        found = self.lookup(names)
        missing = [name for name in names if name not in found]
        if not missing or self.type == "do-nothing":
            return found
        renamed = bool(self.prefix or self.suffix)
        spelt = [f"{name} (as {self.prefix}{name}{self.suffix})" if renamed else name for name in missing]
        one = len(missing) == 1
        listed = spelt[0] if one else f"{', '.join(spelt[:-1])} and {spelt[-1]}"
        file = shown(self.file)
        file += "" if os.path.exists(self.file) else ", which does not exist"
        places = f"in the environment and in {file}" if self.type == "env-secrets" else f"in {file}"
        raise BadInput(f"the secret{'' if one else 's'} {listed} {'is' if one else 'are'} missing: looked {places}")

    def _from_file(self) -> dict[str, str]:
        if self.type == "env-secrets" and not os.path.exists(self.file):
            return {}
        return read_dotenv(self.file)


def provider(project: Project, environ: Mapping[str, str] | None = None) -> Provider:
    """The provider that the project's configuration names.

    Args:
        environ: the process's environment when None.
    """
    secrets = project.config.secrets
    return Provider(
        type=secrets.type,
        file=project.home / secrets.location,
        prefix=secrets.prefix,
        suffix=secrets.suffix,
        environ=os.environ if environ is None else environ,
    )
