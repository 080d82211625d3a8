"""What the steps of plain processes stand on: the project's files, which none of them changes, and the volumes' mount paths."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_project import LocalProject

RUNTIME = Path(__file__).parents[2] / "toolkit" / "runtime"
LARGE = 20_000_000
"""Bytes; a project of this size is worth an overlay."""
MOUNTED = "/nowhere-of-this-machine/deep"
READ_ONLY = "/nowhere-of-this-machine/read-only"

TRY = """\
import json, os, sys, types
package = types.ModuleType("package")
package.__path__ = [sys.argv[1]]
sys.modules["package"] = package
import _ctypes
from package.step import mounts
from package.step.work_folder import make_upper
from toolkit.backends.overlay import overlay_changes
request = json.loads(sys.argv[2])
if request["user"] != os.getuid():
    os.setgroups([os.getgid()])
    os.setresgid(request["user"], request["user"], request["user"])
    os.setresuid(request["user"], request["user"], request["user"])
    mounts._call("prctl", 4, 1, 0, 0, 0, what="prctl")  # As it is after exec.
try:
    code = request["code"]
    changes = overlay_changes(code, [("data", True), ("data/mine", False), ("data/theirs", False)], 100)
    make_upper(request["overlay"] + ".upper", code, *changes)
    mounts.mount_all(request["volumes"], request["overlay"], code, request["scratch"], request["read_only"])
except mounts.MountRefused as error:
    print(error, file=sys.stderr)
    sys.exit(77)
os.chdir(request["overlay"])
sys.exit(os.WEXITSTATUS(os.system(request["command"])))
"""
"""Makes mounts as an attempt does, and runs a command there. 77 is its exit code where the system refuses them."""


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


def test_a_key_is_in_no_step_and_is_named_once(project: LocalProject) -> None:
    key = "-----BEGIN " + "PRIVATE KEY-----\nbm90IGEga2V5\n"
    for name in ("server.pem", "kept.pem", "id_rsa"):
        project.write(name, key)
    project.write(".dockerignore", "!kept.pem\n")
    project.write("p.yaml", steps("export a0=$(ls | tr '\\n' ' ')", returns="a"))
    assert project.run("p.yaml") == 0, project.err
    named = [line for line in project.err.splitlines() if "server.pem" in line]
    assert project.show()["parameters"]["a0"].split() == ["kept.pem", "p.yaml"]
    assert len(named) == 1 and "id_rsa, server.pem (a private key) look like credentials" in named[0]


def steps(*commands: str, returns: str = "") -> str:
    """A pipeline of shell steps; each exports the variable ``returns``, if there is one, with its number."""
    rows = {}
    for number, command in enumerate(commands):
        row: dict[str, object] = {"command_type": "shell", "command": command}
        if returns:
            row["returns"] = [f"{returns}{number}"]
        rows[f"s{number}"] = {**row, **({"next": f"s{number + 1}"} if number + 1 < len(commands) else {})}
    return json.dumps({"dag": {"start_at": "s0", "steps": rows}})


def content(folder: Path) -> dict[str, object]:
    """All below a folder but the private state: of a link where it leads, of a small file what it holds."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not name.startswith(".toolkit"):
            small = path.is_file() and path.stat().st_size < 1000
            found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if small else None
    return found


@pytest.mark.parametrize("large", [False, True])
def test_what_a_step_writes_ends_with_it_and_the_project_stays_as_it_is(
    project: LocalProject, tmp_path: Path, large: bool
) -> None:
    # Given a project, small or large, with all that a copy of its files takes care of,
    project.root = tmp_path / "a, project: of mine"
    project.write("data/seen.txt", "old\n")
    project.write("data/hidden/deep.txt", "not for steps\n")
    project.write("data/big.bin", "")
    os.truncate(project.root / "data" / "big.bin", LARGE if large else 10)
    project.write(".env", "SECRET=1\n")
    project.write(".dockerignore", "data/hidden\n")
    (tmp_path / "beside").write_text("beside\n")
    (project.root / "inside").symlink_to(project.root / "data" / "seen.txt")
    (project.root / "outside").symlink_to("../beside")
    (project.root / "folder").symlink_to("data")
    writes = """
        ls -A . data; cat outside
        echo new > inside; rm folder/big.bin; echo more >> data/big.bin; rm -r .dockerignore; echo left > data/left.txt
        mkdir lost; echo 1 > lost/file; chmod 000 lost
        cat data/seen.txt; export a0=$(cat folder/seen.txt)
    """
    looks = "cat data/seen.txt inside; ls -A . data; test -e data/left.txt || export a1=$(stat -c %s data/big.bin)$(cat inside)"
    project.write("p.yaml", steps(writes, looks, returns="a"))
    before = content(project.root)
    # when a step writes over them, and the next one looks,
    assert project.run("p.yaml") == 0, project.err
    values = project.show()["parameters"]
    # then each has found the same, nothing is left, and the author's own files are what they were.
    assert values == {"a0": "new", "a1": f"{LARGE if large else 10}old"}
    assert b"hidden" not in project.output() and b".env" not in project.output() and b"beside" in project.output()
    assert content(project.root) == before
    assert os.listdir(project.root / ".toolkit" / "work") == []
    assert "copy of the project's files" not in project.err


@pytest.mark.parametrize("large", [False, True])
def test_a_step_finds_none_of_what_is_no_code_and_links_to_the_root_lead_to_its_own_copy(
    project: LocalProject, large: bool
) -> None:
    for name in ("tools/pyvenv.cfg", "tools/lib/a", ".pytest_cache/b", "web/node_modules/c", "web/d", ".mypy_cache/e"):
        project.write(name, "")
    project.write(".dockerignore", "!.mypy_cache\n")
    project.write("big.bin", "")
    os.truncate(project.root / "big.bin", LARGE if large else 10)
    (project.root / "self").symlink_to(".")
    (project.root / "web" / "up").symlink_to("..")
    project.write("p.yaml", steps("find . | sort | tr '\\n' ' '; echo new > self/web/up/self/big.bin; cat big.bin"))
    # When the run's own output goes to a file of the project, as does that of the next one,
    for run in (["run", "p.yaml", "--env", "process"], ["show", "--json"]):
        with (project.root / f"{run[0]}.txt").open("wb") as file:
            command = [sys.executable, "-m", "toolkit", *run]
            subprocess.run(command, cwd=project.root, stdout=file, stderr=file, check=True, timeout=60)
    assert project.run("p.yaml") == 0, project.err
    # then a step finds neither.
    there = ". ./.dockerignore ./.mypy_cache ./.mypy_cache/e ./big.bin ./p.yaml ./self ./web ./web/d ./web/up"
    assert project.output().decode().split("new")[0].split() == there.split()
    assert (project.root / "big.bin").stat().st_size == (LARGE if large else 10)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_large_project_is_an_overlay_where_that_is_allowed_and_else_a_line_names_its_size(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    project.write("big.bin", "")
    os.truncate(project.root / "big.bin", 120_000_000)
    project.write("p.yaml", steps("export kind=$(stat -f -c %T .)", returns="kind").replace("kind0", "kind"))
    if not allowed:
        # Where something is mounted in the project, an overlay does not show it.
        monkeypatch.setattr("toolkit.run.ground.overlay_changes", lambda *_: None)
    elif refusal(project.root):
        pytest.skip("this system refuses mounts")
    assert project.run("p.yaml") == 0, project.err
    assert ("a copy of the project's files, which are 120 MB" in project.err) == (not allowed)
    assert (project.show()["parameters"]["kind"] == "overlayfs") == allowed


def ask(folder: Path, command: str, user: int, volumes: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a command in an overlay on ``folder/code``, as a user, with volumes."""
    (folder / "scratch").mkdir()
    for path in (folder, folder / "scratch", folder / "code" / "data" / "mine"):
        os.chown(path, user, user)
    request = {"user": user, "code": str(folder / "code"), "overlay": str(folder / "work"), "volumes": volumes,
               "scratch": str(folder / "scratch"), "command": command,
               "read_only": [path for path in volumes if path == READ_ONLY]}  # fmt: skip
    command_line = [sys.executable, "-c", TRY, str(RUNTIME), json.dumps(request)]
    return subprocess.run(command_line, capture_output=True, text=True, timeout=60)


def refusal(folder: Path) -> str:
    """Why this system refuses mounts; empty where it does not."""
    place = folder / ".toolkit" / "try"
    (place / "code" / "data").mkdir(parents=True)
    for name in ("mine", "theirs"):
        (place / "code" / "data" / name).write_text("x")
    tried = ask(place, "true", os.getuid(), {})
    return tried.stderr if tried.returncode else ""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users can reach, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="toolkit-ground-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_what_a_pipelines_file_writes_while_it_is_described_is_no_part_of_the_project(tmp_path: Path) -> None:
    # Given a file that makes a folder and writes a file when it is imported, in a part of a repository,
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "part").mkdir()
    project = LocalProject(tmp_path / "part")
    project.write("data/in.txt", "old")
    project.write(
        "pipeline.py",
        """\
import subprocess
from pathlib import Path
from toolkit import Pipeline, ShellTask

here = Path(__file__).resolve().parent
(here / "output").mkdir()
(here / "data/in.txt").write_text("new")
subprocess.run(["git", "status"], check=True, stdout=subprocess.DEVNULL)
pipeline = Pipeline([ShellTask("a", f"ls {here}; test $(cat data/in.txt) = old; test ! -e output", strict=True)])
""",
    )
    if refusal(project.root):
        pytest.skip("this system refuses mounts")
    before = content(project.root)
    # when it runs, then no step sees what it wrote, and the project is what it was.
    assert project.run("pipeline.py") == 0, project.err
    assert content(project.root) == before
    assert not (project.root / "output").exists()
    assert os.listdir(project.root / ".toolkit" / "work") == []


COVER = """\
import json, os, sys, types
package = types.ModuleType("package")
package.__path__ = [sys.argv[1]]
sys.modules["package"] = package
import _ctypes
from package.step import mounts
folder, beside, user = sys.argv[2], sys.argv[3], int(sys.argv[4])
os.setgroups([user])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
mounts._call("prctl", 4, 1, 0, 0, 0, what="prctl")  # As it is after exec.
try:
    mounts.cover(folder, beside)
except mounts.MountRefused as error:
    print(error)
open(os.path.join(folder, "file"), "a").write("more")
print(open(os.path.join(folder, "file")).read())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("owner", [65534, 0])
def test_a_plain_user_whose_project_holds_files_of_others_can_write_them_while_it_is_described(
    place: Path, owner: int
) -> None:
    # Given a file of the user's own, or one of somebody else that the user's group may write,
    if refusal(place):
        pytest.skip("this system refuses mounts")
    code = place / "project"
    code.mkdir()
    (code / "file").write_text("old, ")
    os.chown(code, 65534, 65534)
    os.chown(code / "file", owner, 65534)
    (code / "file").chmod(0o664)
    (place / "beside").mkdir()
    os.chown(place / "beside", 65534, 65534)
    # when it is written, then that succeeds, and only the user's own file stays as it was.
    command = [sys.executable, "-c", COVER, str(RUNTIME), str(code), str(place / "beside" / "it"), "65534"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("old, more\n"), done.stderr
    assert ("known to be this user's" in done.stdout) == (owner == 0)
    assert (code / "file").read_text() == ("old, " if owner else "old, more")


@pytest.mark.parametrize("user", [0, 65534])
def test_the_mounts_of_a_user_change_nothing_else_of_what_a_step_may_do(place: Path, user: int) -> None:
    # Given a user, and files of which some are theirs,
    if os.getuid() not in (0, user):
        pytest.skip("only root can become another user")
    (place / "code" / "data").mkdir(parents=True)
    for name in ("mine", "theirs"):
        (place / "code" / "data" / name).write_text(f"{name}\n")
    # Who may write to it need not be its owner.
    (place / "code" / "data" / "theirs").chmod(0o666)
    (place / "code" / "hidden").write_text("hidden\n")
    for name in ("volume", "other", "data"):
        (place / name).mkdir()
        os.chown(place / name, user, user)
    (place / "data" / "given").write_text("")
    # when a command runs among the mounts, of which some are where this machine has no folder,
    command = f"""set -e
        id -u; id -g; pwd; ls; echo new > data/mine; cat data/mine; chmod 000 data/mine; cat data/mine 2>&1 | cut -c1-3
        echo 1 > /mnt/file; echo 2 > {MOUNTED}/file; mkdir data/new; ls /dev/null
        touch {READ_ONLY}/file 2>/dev/null || ls {READ_ONLY}
        echo new > data/theirs; cat data/theirs; grep -c CapEff:.0000000000000000 /proc/self/status || true
    """
    done = ask(
        place,
        command,
        user,
        {"/mnt": str(place / "volume"), MOUNTED: str(place / "other"), READ_ONLY: str(place / "data")},
    )
    if done.returncode == 77:
        pytest.skip(done.stderr)
    # then it is the same user with the same rights; the project is as it was, and nothing is mounted afterwards.
    assert done.returncode == 0, done.stderr
    rights = ["new", "/dev/null", "given", "new", "0"] if user == 0 else ["cat", "/dev/null", "given", "new", "1"]
    assert done.stdout.split() == [str(user), str(user), str(place / "work"), "data", "new", *rights]
    assert [(place / "code" / "data" / name).read_text() for name in ("mine", "theirs")] == ["mine\n", "theirs\n"]
    assert [(place / name / "file").read_text() for name in ("volume", "other")] == ["1\n", "2\n"]
    assert not Path(MOUNTED).parent.exists() and not Path("/mnt/file").exists()
    assert str(place) not in Path("/proc/self/mountinfo").read_text()


VOLUMES = (
    "executor: {config: {persistent_volumes: [{name: toolkit, mount_path: /mnt}, {name: my-data, mount_path: %s}]%s}}\n"
)


def test_what_is_written_below_a_mount_path_lies_in_the_volumes_folder(project: LocalProject) -> None:
    if refusal(project.root):
        pytest.skip("this system refuses mounts")
    # Given two volumes, one of which is mounted where this machine has no folder, and a variable that names a file there,
    project.write("toolkit.yaml", VOLUMES % (MOUNTED, f", environment: {{FILE: {MOUNTED}/file}}"))
    # when one step writes below it and the next one reads,
    project.write("p.yaml", steps("echo kept > $FILE", f"export a=$(cat {MOUNTED}/file)$TOOLKIT_VOLUME_MY_DATA", returns="a")
                  .replace('"returns": ["a0"], ', "").replace("a1", "a"))  # fmt: skip
    assert project.run("p.yaml") == 0, project.err
    # then it is in the volume's folder, and the machine has no such path.
    assert project.show()["parameters"]["a"] == f"kept{MOUNTED}"
    assert (project.root / ".toolkit/volumes/my-data/file").read_text() == "kept\n"
    assert not Path(MOUNTED).parent.exists()
    assert "mount" not in project.err


def test_a_mount_path_that_holds_the_project_is_not_mounted_and_a_line_says_where_the_folder_is(
    project: LocalProject, tmp_path: Path
) -> None:
    # Given a volume whose mount path holds the project,
    project.root = tmp_path / "project"
    project.write("toolkit.yaml", VOLUMES % (tmp_path, ""))
    project.write("p.yaml", steps("echo kept > $TOOLKIT_VOLUME_MY_DATA/file; export a=$TOOLKIT_VOLUME_MY_DATA", returns="a")
                  .replace("a0", "a"))  # fmt: skip
    # when a step writes where the variable says, then that is the volume's folder, and one line says so;
    folder = project.root / ".toolkit/volumes/my-data"
    assert project.run("p.yaml") == 0, project.err
    assert f"no volume is mounted at {tmp_path} (its folder is TOOLKIT_VOLUME_MY_DATA): {tmp_path} holds" in project.err
    assert project.show()["parameters"]["a"] == str(folder) and (folder / "file").read_text() == "kept\n"
    # and a configuration that needs the mount path is refused before there is a run.
    runs = project.show("runs")
    for value, refused in (
        (f"sqlite:///{tmp_path}/x.db", True),
        (f"/a:{tmp_path}", True),
        (f"s3:/{tmp_path}", False),
        (f"{tmp_path}2", False),
    ):
        project.write("toolkit.yaml", VOLUMES % (tmp_path, f", environment: {{WHERE: '{value}'}}"))
        assert project.run("p.yaml") == (2 if refused else 0), project.err
        if refused:
            assert "the environment variable WHERE of the configuration names /" in project.err
            assert project.show("runs") == runs
            assert len(os.listdir(project.root / ".toolkit" / "work")) == 0
        runs = project.show("runs")


def test_nothing_stays_mounted_or_behind_when_client_and_step_are_killed(project: LocalProject) -> None:
    # Given a run over an overlay whose step goes on,
    project.write("big.bin", "")
    os.truncate(project.root / "big.bin", LARGE)
    pid = project.root / ".toolkit" / "pid"
    project.write("p.yaml", steps(f"echo $PPID > {pid}.new; mv {pid}.new {pid}; sleep 60"))
    command = [sys.executable, "-m", "toolkit", "run", "p.yaml", "--env", "process"]
    client = subprocess.Popen(command, cwd=project.root, stderr=subprocess.DEVNULL, start_new_session=True)
    while not pid.exists():
        assert client.poll() is None
        time.sleep(0.05)
    # when its client and its runtime are killed,
    runtime = int(pid.read_text())
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    for process in children(runtime):
        os.kill(process, signal.SIGKILL)
    os.kill(runtime, signal.SIGKILL)
    while Path(f"/proc/{runtime}").exists():
        time.sleep(0.05)
    # then nothing is mounted, and the next run removes what it had written.
    assert str(project.root) not in Path("/proc/self/mountinfo").read_text()
    project.write("p.yaml", steps("true"))
    assert project.run("p.yaml") == 0, project.err
    assert os.listdir(project.root / ".toolkit" / "work") == []


def children(process: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
