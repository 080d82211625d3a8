"""A project: its root, its configuration and its private folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit.config.settings import Config


@dataclass(frozen=True)
class Project:
    """What every command works on.

    Attributes:
        root: absolute folder of the user's code, which goes into the image.
        home: absolute folder of the configuration file (the root when there is none); `.toolkit/` and `.env` lie here.
        config: the loaded configuration.
    """

    root: Path
    home: Path
    config: Config

    @property
    def state(self) -> Path:
        """The private folder: volumes, build state, caches. Never in an image, never committed."""
        return self.home / ".toolkit"
