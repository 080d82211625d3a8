"""Secrets on this machine: they are looked up by name in the client's environment and in a .env file.

No message holds a value.
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
        environ: the client's environment; not in the repr, because it holds the values.
    """

    type: Literal["env-secrets", "dotenv", "do-nothing"]
    file: Path
    prefix: str = ""
    suffix: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    def lookup(self, names: Iterable[str]) -> dict[str, str]:
        """The secrets that exist, by name and in the order of the names. An empty value is a value.

        Raises:
            BadInput: the .env file is needed and is malformed, or with ``dotenv`` does not exist.
        """
        variables = {name: f"{self.prefix}{name}{self.suffix}" for name in names}
        if self.type == "do-nothing" or not variables:
            return {}
        environ = self.environ if self.type == "env-secrets" else {}
        # The file is read only when it is needed: it may be another program's, in a form that can't be read.
        needs_file = any(variable not in environ for variable in variables.values())
        values = self._from_file() if needs_file else {}
        looked_up = {name: environ.get(variable, values.get(variable)) for name, variable in variables.items()}
        present = {name: value for name, value in looked_up.items() if value is not None}
        for name, value in present.items():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadInput(f"the value of the secret {name} is not UTF-8 text") from None
        return present

    def require(self, names: Iterable[str]) -> dict[str, str]:
        """All of the secrets by name; with ``do-nothing`` none is required and none is given.

        Raises:
            BadInput: secrets are missing; the message names all of them, and where they were looked for.
        """
        names = tuple(dict.fromkeys(names))
        secrets = self.lookup(names)
        missing = [name for name in names if name not in secrets]
        if not missing or self.type == "do-nothing":
            return secrets
        is_renamed = bool(self.prefix or self.suffix)
        shown_names = [f"{name} (as {self.prefix}{name}{self.suffix})" if is_renamed else name for name in missing]
        single = len(missing) == 1
        listed = shown_names[0] if single else f"{', '.join(shown_names[:-1])} and {shown_names[-1]}"
        file = shown(self.file)
        file += "" if os.path.exists(self.file) else ", which does not exist"
        places = f"in the environment and in {file}" if self.type == "env-secrets" else f"in {file}"
        raise BadInput(
            f"the secret{'' if single else 's'} {listed} {'is' if single else 'are'} missing: looked {places}"
        )

    def _from_file(self) -> dict[str, str]:
        if self.type == "env-secrets" and not os.path.exists(self.file):
            return {}
        return read_dotenv(self.file)


def provider(project: Project, environ: Mapping[str, str] | None = None) -> Provider:
    """The provider that the project's configuration names.

    Args:
        environ: environment variables; None is those of this process.
    """
    secrets = project.config.secrets
    return Provider(
        type=secrets.type,
        file=project.home / secrets.location,
        prefix=secrets.prefix,
        suffix=secrets.suffix,
        environ=os.environ if environ is None else environ,
    )
