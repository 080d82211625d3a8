"""A project with runs on a cluster, without a cluster: a folder is the volume, and ``LocalReader`` stands for the reader pod."""

from __future__ import annotations

from pathlib import Path

from kubernetes.client import Configuration

from tests.support.reader import LocalReader
from toolkit.backends.argo.cluster import Cluster
from toolkit.backends.argo.volume.mirror import Mirror
from toolkit.config.settings import (
    Build,
    CatalogStore,
    Config,
    Executor,
    ExecutorConfig,
    PersistentVolume,
    RunLogStore,
    Secrets,
)
from toolkit.project import Project
from toolkit.runtime.shared.catalog import FileStore


def cluster_at(host: str, namespace: str = "lab", authority: Path | None = None) -> Cluster:
    """A cluster that no test connects to. Its address decides which mirror it has."""
    configuration = Configuration()
    configuration.host = host
    configuration.ssl_ca_cert = str(authority) if authority else None
    return Cluster(configuration, "lab", namespace)


class Lab:
    """A project, and the volume of its claim as a pod would see it."""

    def __init__(self, root: Path) -> None:
        # The mount path exists on this machine, because the stand-in for the pod runs here.
        self.root = root
        self.volume = root / "volume"
        self.log = self.volume / "log"
        self.store = FileStore(str(self.volume / "catalog"))
        self.project = self.of("claim", str(self.volume))
        self.pod = LocalReader()
        self.mirror = Mirror(self.project, cluster_at("https://one:6443"))

    def of(self, claim: str, mount_path: str, catalog: str = "file-system") -> Project:
        """The project with a volume."""
        config = Config(
            Executor(config=ExecutorConfig(persistent_volumes=(PersistentVolume(claim, mount_path),))),
            RunLogStore(log_folder=str(self.log)),
            CatalogStore(type=catalog, catalog_location=str(self.volume / "catalog")),  # type: ignore[arg-type]
            Secrets(),
            Build(),
        )
        return Project(self.root, self.root, config)
