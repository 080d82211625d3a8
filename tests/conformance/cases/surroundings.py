"""A step's surroundings: folders, user, limits, environment variables, arguments and input."""

from __future__ import annotations

import json

from tests.conformance.case import BROKEN, OK, OVERRIDDEN_BY, Case, Expect, attempt, attempted, literal
from tests.conformance.exemptions import INHERITED, NO_CONTAINER, NO_LIMITS, NO_USER

VALUES = {
    "PLAIN": "value",
    "EMPTY": "",
    "SPACES": "  both ends  ",
    "QUOTES": 'it\'s "quoted" `here` \\ \\n',
    "LINES": "one\ntwo\r\n\tthree\n",
    "ARGO": "{{x}} {{=1+1}} {{workflow.name}} }} {{",
    "KUBERNETES": "$(HOME) $$(HOME) $$ $ $$$",
    "SHELL": "$HOME ${HOME} $(id) `id` ; rm -rf *",
    "UNICODE": "ünïcödé 数据 🎉 \u2028",
    "YAML": "- [no, ~, 1e3, 0x1F]: # not a comment",
    "JSON": '{"a": [1, null]}',
    "LONG": "x" * 60_000,
    "_lower_1": "an odd name",
}
AT_START = {"TZ": "XYZ-9", "PYTHONOPTIMIZE": "1", "PYTHONWARNINGS": "error::UserWarning"}
"""Variables that have an effect only where they are there before the interpreter starts."""
LOOK = """\
import hashlib, resource, stat, subprocess

ENGINES = ("ARGO_", "KUBERNETES_", "TOOLKIT_", "CONFORMANCE_SERVICE", "CONFORMANCE_PORT")

def surroundings():
    child = subprocess.run(["cat"], capture_output=True)
    with open("new.txt", "w") as file:
        file.write("new")
    os.mkdir("folder")
    with open(os.path.join(os.environ["HOME"], "at-home"), "w") as file:
        file.write("home")
    return {
        "project's file": open("data.txt").read(),
        "nested file": open("sub/nested.txt").read(),
        "umask": oct(stat.S_IMODE(os.stat("new.txt").st_mode)),
        "folder's": oct(stat.S_IMODE(os.stat("folder").st_mode) & 0o777),
        "stdin": sys.stdin.read(),
        "child's stdin": child.stdout.decode(),
        "terminals": [os.isatty(number) for number in range(3)],
        "argv": sys.argv,
        "seed": hash("always the same"),
        "seed's": os.environ["PYTHONHASHSEED"],
        "here": os.getcwd() == os.environ["PWD"],
        "engine's": [name for name in os.environ if name.startswith(ENGINES)],
        "open files": sorted(int(n) for n in os.listdir("/proc/self/fd") if int(n) < 3),
        "encoding": [sys.stdout.encoding, sys.getfilesystemencoding(), sys.getdefaultencoding()],
        "ours": sorted(n for n in ("toolkit.runtime", "supervisor", "records") if n in sys.modules),
    }

def again():
    assert not os.path.exists("new.txt") and not os.path.exists("folder"), "another step's files"
    assert not os.path.exists(os.path.join(os.environ["HOME"], "at-home")) or not os.path.exists("/opt/toolkit")
"""
SHELL_LOOK = """\
test "$(cat)" = "" && test ! -t 1 && test "$0" = sh && test $# = 0 && test "$PWD" = "$(pwd)" && test -w "$HOME" &&
umask && cat data.txt && echo x > new.txt && ls data.txt new.txt sub/nested.txt
"""
LIMIT = """\
def limit(v2, v1):
    for path in (f"/sys/fs/cgroup/{v2}", f"/sys/fs/cgroup/{v1}"):
        try:
            return open(path).read().strip()
        except FileNotFoundError:
            pass

"""
SEES = """\
def looks():
    sizes = {p: os.statvfs(p).f_blocks * os.statvfs(p).f_frsize for p in ("/tmp", "/dev/shm")}
    quota = limit("cpu.max", "cpu/cpu.cfs_quota_us").split()
    period = quota[1:] or [limit("none", "cpu/cpu.cfs_period_us")]
    memory = int(limit("memory.max", "memory/memory.limit_in_bytes"))
    return {"memory": memory, "cpu": int(quota[0]) * 1000 // int(period[0]), "sizes": sizes}
"""
FILLS = """\
def fills():
    for path, size in (("/tmp/fill", 32), ("/dev/shm/fill", 96)):
        try:
            with open(path, "wb") as file:
                for _ in range(size + 1):
                    file.write(bytes(1 << 20))
            print("there was more room in", path)
        except OSError as error:
            print(path, error.strerror)
        os.unlink(path)
"""
BESIDE = """\
def who():
    return [os.environ[name] for name in ("ONE", "TWO", "THREE")]

def waits():
    print("begins", flush=True)
    time.sleep(1000)

def item(n):
    sys.exit(7 * (n == 2))
"""
BESIDE_IN_YAML = """\
items: &items {start_at: item, steps: {item: {command: functions.item, retries: 1}}}
dag:
  start_at: plain
  steps:
    plain: {command: functions.who, returns: [plain], overrides: {argo: shared}, next: own}
    own:
      command: functions.who
      returns: [own]
      overrides: shared
      environment: {THREE: "beside $HOME {{x}}"}
      next: waits
    waits:
      command: functions.waits
      timeout: 1
      retries: {limit: 1, delay: 0}
      on_failure: {start_at: helps, steps: {helps: {type: map, iterate_on: ns, iterate_as: n, branch: *items}}}
"""
USERS = """\
import getpass

def first():
    path = os.path.join(volume.folder(), "shared.txt")
    with open(path, "w") as file:
        file.write("first\\n")
    os.mkdir(os.path.join(volume.folder(), "sub"))
    return who()

def second():
    with open(os.path.join(volume.folder(), "shared.txt"), "a") as file:
        file.write("second\\n")
    with open(os.path.join(volume.folder(), "sub", "mine.txt"), "w") as file:
        file.write("second")
    os.rename(os.path.join(volume.folder(), "shared.txt"), os.path.join(volume.folder(), "renamed.txt"))
    with open("put.txt", "w") as file:
        file.write("of another user")
    return who()

def third():
    with open(os.path.join(volume.folder(), "renamed.txt"), "a") as file:
        file.write("third\\n")
    with open(os.path.join(volume.folder(), "sub", "mine.txt"), "a") as file:
        file.write(", third")
    with open("put.txt", "a") as file:
        file.write(", and of the first")
    return open(os.path.join(volume.folder(), "renamed.txt")).read()

def who():
    home = os.environ["HOME"]
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
    return {
        "uid": os.getuid(), "name": getpass.getuser(), "gid": os.getgid(),
        "groups": sorted(set(os.getgroups()) | {os.getgid()}), "here": os.getcwd(),
        "home": home != "/" and os.access(home, os.W_OK), "workspace": os.access("/workspace", os.W_OK),
        "capabilities": status["CapEff"].strip(), "no new privileges": status["NoNewPrivs"].strip(),
    }
"""

EVERY_SETTING = """\
def seen(name, variable):
    limits = {"memory": limit("memory.max", "memory/memory.limit_in_bytes")}
    sizes = {p: os.statvfs(p).f_blocks * os.statvfs(p).f_frsize >> 20 for p in ("/tmp", "/dev/shm")}
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
    written = {}
    for path in ("/etc/x", "/workspace/x", "/tmp/x", "/mnt/x-" + name, "/more/x-" + name, os.environ["HOME"] + "/x"):
        try:
            open(path, "w").close()
            written[path.replace(os.environ["HOME"], "~").replace(name, "NAME")] = True
        except OSError:
            written[path] = False
    return {
        "uid": os.getuid(), "gid": os.getgid(), "limits": int(limits["memory"]) >> 20, "sizes": sizes, "written": written,
        "capabilities": int(status["CapEff"], 16), "no new privileges": int(status["NoNewPrivs"]),
        "variable": variable, "common": len(os.environ["common"]),
    }

def first():
    return seen("first", os.environ["MODE"])

def second():
    return seen("second", os.environ["MODE"])
"""
EVERY_CONFIG = {
    "environment": {"MODE": "one {{x}} $$(HOME)"},
    "persistent_volumes": [
        {"name": "toolkit", "mount_path": "/mnt"},
        {"name": "more", "mount_path": "/more", "read_only": True},
    ],
    "resources": {"limits": {"memory": "192Mi", "cpu": "500m"}, "requests": {"memory": "32Mi", "cpu": "50m"}},
    "user": 1234,
    "shm_size": "96Mi",
    "scratch_size": "32Mi",
    "read_only_root": True,
    "grace_period_in_seconds": 5,
    "image_pull_secrets": ["conformance-registry"],
    "max_workflow_duration_in_seconds": 3600,
    "max_step_duration_in_seconds": 600,
    "retry_strategy": {
        "limit": 1,
        "retry_policy": "OnError",
        "back_off": {"duration_in_seconds": 1, "max_duration": 60},
    },
    "parallelism": 2,
    "pids_limit": 500,
    "auto_remove_container": False,
    "annotations": {"example.org/note": 'it\'s "noted"'},
    "labels": {"example.org/team": "y"},
    "node_selector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "example.org/none", "operator": "Exists", "effect": "NoSchedule"}],
    "service_account_name": "toolkit-runner",
    "start_timeout_in_seconds": 240,
    "overrides": {
        "own": {
            "environment": {"MODE": "two"},
            "resources": {"limits": {"memory": "128Mi"}},
            "user": 4321,
            "shm_size": "16Mi",
            "scratch_size": "8Mi",
            "max_step_duration_in_seconds": 300,
            "retry_strategy": {"limit": 0},
            "node_selector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [],
            "service_account_name": "toolkit-runner",
        },
    },
}
"""All settings of the executor that go together, each with another value than its default (tests/golden has the others)."""


def seen(name: str, uid: int, memory: int, tmp: int, shm: int, variable: str) -> dict[str, object]:
    """What a step of the case `every-setting` sees."""
    return {
        "uid": uid,
        "gid": 1000,
        "limits": memory,
        "sizes": {"/tmp": tmp, "/dev/shm": shm},
        "written": {
            **{"/etc/x": False, "/workspace/x": False, f"/more/x-{name}": False},
            **{path: True for path in ("/tmp/x", "/mnt/x-NAME", "~/x")},
        },
        "capabilities": 0,
        "no new privileges": 1,
        "variable": variable,
        "common": len("of-every-step"),
    }


def user(uid: int) -> dict[str, object]:
    """What a step of a user finds."""
    return {
        "uid": uid,
        "name": "toolkit",
        "gid": 1000,
        "groups": [1000],
        "here": "/workspace",
        "home": True,
        "workspace": True,
        "capabilities": "0000000000000000",
        "no new privileges": "1",
    }


CASES = (
    Case(
        "every-setting",
        "All settings of the executor together, and a step's overrides above them.",
        core="each setting of the executor, on two pods",
        steps=[
            "PythonTask(functions.first, returns=['one'])",
            f"PythonTask(functions.second, returns=['two'], overrides={{{OVERRIDDEN_BY!r}: 'own'}})",
        ],
        code=LIMIT + EVERY_SETTING,
        config=EVERY_CONFIG,
        common={"common": "of-every-step"},
        exempt={"process": NO_CONTAINER},
        expect=Expect(
            parameters={
                "one": seen("first", 1234, 192, 32, 96, "one {{x}} $(HOME)"),
                "two": seen("second", 4321, 128, 8, 16, "two"),
            },
            labels={"example.org/team": "y"},
        ),
    ),
    Case(
        "surroundings",
        "Folders, input, arguments, umask and hash seed. What a step writes beside its code is not seen by any other step.",
        steps=[
            "PythonTask(functions.surroundings, returns=['seen'])",
            "PythonTask(functions.again)",
            f"ShellTask('shell', {SHELL_LOOK!r})",
        ],
        code=LOOK,
        files={"data.txt": "data\n", "sub/nested.txt": "nested"},
        expect=Expect(
            parameters={
                "seen": {
                    "project's file": "data\n",
                    "nested file": "nested",
                    "umask": "0o664",
                    "folder's": "0o775",
                    "stdin": "",
                    "child's stdin": "",
                    "terminals": [False, False, False],
                    "argv": ["surroundings"],
                    "seed": 618260973921795560,
                    "seed's": "0",
                    "here": True,
                    "engine's": ["TOOLKIT_VOLUME_TOOLKIT"],
                    "open files": [0, 1, 2],
                    "encoding": ["utf-8", "utf-8", "utf-8"],
                    "ours": [],
                }
            },
            output={"shell": "0002\ndata\ndata.txt\nnew.txt\nsub/nested.txt\n"},
        ),
    ),
    Case(
        "variables",
        "Environment variables of the configuration reach Python and shell steps unchanged, and a step's overrides come first. "
        "They are there before Python starts, also while the pipeline is described.",
        steps=[
            "PythonTask(functions.check)",
            "PythonTask(functions.at_start, name='at' + functions.OFFSET, returns=['start'])",
            f"PythonTask(functions.check, name='own', overrides={{{OVERRIDDEN_BY!r}: 'own'}})",
            "ShellTask('shell', 'python3 -c \"import functions; functions.check()\"')",
        ],
        code="""\
def check():
    for name, value in json.load(open("values.json")).items():
        wanted = "own {{y}} $(x)" if name == "PLAIN" and "OWN" in os.environ else value
        if os.environ.get(name) != wanted:
            raise ValueError((name, os.environ.get(name)))

OFFSET = time.strftime("%z")

def at_start():
    return [OFFSET, sys.flags.optimize, sys.warnoptions]
""",
        files={"values.json": json.dumps(VALUES)},
        config={
            "environment": {name: literal(value) for name, value in {**VALUES, **AT_START}.items()},
            "overrides": {"own": {"environment": {"PLAIN": "own {{y}} $(x)", "OWN": "1"}}},
        },
        expect=Expect(parameters={"start": ["+0900", 1, ["error::UserWarning"]]}, output={"at+0900": ""}),
    ),
    Case(
        "beside-the-step",
        "What is said beside a step counts first, then the override, whose name alone holds everywhere, then the configuration. "
        "A step that is mapped has its own retries. A time limit of its own is one of each attempt. An override for another type "
        "of executor than the configuration's has no effect in any environment, which is said.",
        steps=[
            "PythonTask(functions.who, name='plain', returns=['plain'], overrides={'argo': 'shared'})",
            "PythonTask(functions.who, name='own', returns=['own'], overrides='shared', "
            "environment={'THREE': 'beside $HOME {{x}}'})",
            "PythonTask(functions.waits, timeout=1, retries={'limit': 1, 'delay': 0}, on_failure=Map('helps', iterate_on='ns', "
            "iterate_as='n', branch=PythonTask(functions.item, retries=1).as_pipeline()).as_pipeline())",
        ],
        code=BESIDE,
        files={"pipeline.yaml": BESIDE_IN_YAML},
        config={
            "environment": {"ONE": "1", "TWO": "1", "THREE": "1"},
            "overrides": {"shared": {"environment": {"TWO": "2", "THREE": "2"}}},
            "max_step_duration_in_seconds": 600,
            "grace_period_in_seconds": 1,
            "retry_strategy": {"back_off": {"duration_in_seconds": 1}},
        },
        arguments=("--param", "ns=[1,2]"),
        also=("pipeline.yaml",),
        compiles=True,
        expect=Expect(
            code=1,
            steps={
                "plain": OK,
                "own": OK,
                "waits": attempted(*[attempt(143, "time limit of 1 s")] * 2),
                "waits/on_failure/helps": BROKEN,
                "waits/on_failure/helps/0/item": OK,
                "waits/on_failure/helps/1/item": attempted(*[attempt(7)] * 2),
            },
            parameters={"plain": ["1", "1", "1"], "own": ["1", "2", "beside $HOME {{x}}"]},
            output={"waits": "begins"},
            stderr="the step 'plain' runs without an override: 'shared' for argo has no effect, because executor.type",
        ),
    ),
    Case(
        "names-of-variables",
        "A container's environment variables are those of the image, the configuration and the runtime, and none of an engine.",
        steps=["PythonTask(functions.names, returns=['names'])", "ShellTask('shell', 'env | cut -d= -f1 | sort')"],
        code="def names():\n    return sorted(os.environ)\n",
        config={"environment": {"OURS": "1"}},
        exempt={"process": INHERITED},
        expect=Expect(
            parameters={
                "names": [
                    *("HOME", "HOSTNAME", "LANG", "LOGNAME", "OURS", "PATH", "PWD", "PYTHONHASHSEED", "USER"),
                ]
            },
        ),
    ),
    Case(
        "limits",
        "Memory, processors, /dev/shm and /tmp have the sizes of the configuration, also for a step's overrides.",
        steps=[
            "PythonTask(functions.looks, returns=['all'])",
            f"PythonTask(functions.looks, name='own', returns=['own'], overrides={{{OVERRIDDEN_BY!r}: 'own'}})",
            "PythonTask(functions.fills)",
        ],
        code=LIMIT + SEES + FILLS,
        config={
            "resources": {"limits": {"memory": "192Mi", "cpu": "500m"}, "requests": {"memory": "32Mi", "cpu": "100m"}},
            "shm_size": "96Mi",
            "scratch_size": "32Mi",
            "overrides": {
                "own": {
                    "resources": {"limits": {"memory": "96Mi", "cpu": "1"}},
                    "shm_size": "16Mi",
                    "scratch_size": "8Mi",
                }
            },
        },
        exempt={"process": NO_LIMITS},
        expect=Expect(
            parameters={
                "all": {"memory": 192 << 20, "cpu": 500, "sizes": {"/tmp": 32 << 20, "/dev/shm": 96 << 20}},
                "own": {"memory": 96 << 20, "cpu": 1000, "sizes": {"/tmp": 8 << 20, "/dev/shm": 16 << 20}},
            },
            output={"fills": "/tmp/fill No space left on device\n/dev/shm/fill No space left on device\n"},
        ),
    ),
    Case(
        "limits-beside-the-step",
        "Amounts beside a step take the place of the configuration's, and all others stay; so does its user.",
        steps=[
            "PythonTask(functions.looks, name='more', returns=['more'], resources={'limits': {'memory': '96Mi'}})",
            "PythonTask(functions.looks, name='both', returns=['both'], user=4321, "
            "resources={'limits': {'cpu': 1, 'memory': '64Mi'}})",
        ],
        code=LIMIT + SEES.replace('"cpu"', '"uid": os.getuid(), "cpu"').replace(', "sizes": sizes', ""),
        config={
            "resources": {"limits": {"memory": "192Mi", "cpu": "500m"}, "requests": {"memory": "32Mi", "cpu": "100m"}},
            "user": 1234,
        },
        exempt={"process": NO_LIMITS},
        expect=Expect(
            parameters={
                "more": {"memory": 96 << 20, "cpu": 500, "uid": 1234},
                "both": {"memory": 64 << 20, "cpu": 1000, "uid": 4321},
            },
        ),
    ),
    Case(
        "read-only-root",
        "With a read-only root, only the working folder, /tmp, HOME and the volumes can be written.",
        steps=[
            "PythonTask(functions.tries, returns=['tried'])",
            "ShellTask('shell', 'echo x > out.txt && cat data.txt')",
        ],
        code="""\
def tries():
    import data
    found = {}
    for path in ("/etc/x", "/opt/x", "/workspace/x", "/var/x", "/tmp/x", "out.txt", os.environ["HOME"] + "/x", "/mnt/x-ro"):
        try:
            open(path, "w").close()
            found[path.replace(os.environ["HOME"], "~")] = "written"
        except OSError as error:
            found[path] = error.strerror
    return found
""",
        files={"data.txt": "data", "data.py": "X = 1\n"},
        config={"read_only_root": True},
        exempt={"process": NO_CONTAINER},
        expect=Expect(
            parameters={
                "tried": {
                    **{path: "Read-only file system" for path in ("/etc/x", "/opt/x", "/workspace/x", "/var/x")},
                    **{path: "written" for path in ("/tmp/x", "out.txt", "~/x", "/mnt/x-ro")},
                }
            }
        ),
    ),
    Case(
        "users",
        "Steps of two users share a group: each can change the other's files, and neither has any privilege.",
        steps=[
            "PythonTask(functions.first, returns=['one'])",
            "PythonTask(functions.second, returns=['two'], catalog=Catalog(put=['put.txt']),"
            f" overrides={{{OVERRIDDEN_BY!r}: 'other'}})",
            "PythonTask(functions.third, returns=['shared'], catalog=Catalog(get=['put.txt'], put=['put.txt']))",
        ],
        code=USERS,
        config={"user": 1000, "overrides": {"other": {"user": 4321}}},
        exempt={"process": NO_USER},
        expect=Expect(
            parameters={"one": user(1000), "two": user(4321), "shared": "first\nsecond\nthird\n"},
            puts={"third": {"put.txt": "of another user, and of the first"}},
        ),
    ),
)
