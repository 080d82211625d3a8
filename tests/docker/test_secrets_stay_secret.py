"""A canary that steps print, raise and return is found nowhere that anybody but the step could look."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.support.scratch import Scratch

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

CANARY = "c4nary-7f3a91-tweet+/=&"
CODE = """\
import base64, os, subprocess, sys, time

def prints():
    secret = os.environ["secret_key"]
    print(secret)
    sys.stderr.write("in the middle of " + secret + " a line\\n")
    print(base64.b64encode(secret.encode()).decode())
    print(base64.b64encode(("user:" + secret).encode()).decode(), repr(secret), secret.encode().hex())
    for character in secret:
        os.write(1, character.encode())
        time.sleep(0.01)
    subprocess.run(["sh", "-c", "echo $secret_key; env"], check=True)
    time.sleep(3)

def raises():
    raise RuntimeError("the key is " + os.environ["secret_key"])

def returns_it():
    return base64.b64encode(os.environ["secret_key"].encode()).decode()

def has_none():
    assert "secret_key" not in os.environ
    assert not any("tweet" in value for value in os.environ.values())
"""


def forms_of(secret: str) -> list[bytes]:
    """What is searched for: the canary plain, and as base64 of itself."""
    return [secret.encode(), base64.b64encode(secret.encode()).rstrip(b"=")[:-1]]


def pipeline(*names: str) -> str:
    tasks = ", ".join(
        f"PythonTask(functions.{name}, secrets=[{'' if name == 'has_none' else repr('secret_key')}], "
        f"returns=[{repr('x') if name == 'returns_it' else ''}])"
        for name in names
    )
    return f"import functions\nfrom toolkit import Pipeline, PythonTask\np = Pipeline(steps=[{tasks}])\n"


class Watch:
    """Looks at every container and every process of this machine while a run goes on."""

    def __init__(self, root: Path) -> None:
        self.seen: list[bytes] = []
        self._label = f"label=dev.toolkit.project={root}"
        self._events = subprocess.Popen(
            ["docker", "events", "--format", "{{json .}}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.is_set():
            listed = subprocess.run(["docker", "ps", "-aq", "--filter", self._label], capture_output=True, text=True)
            for container in listed.stdout.split():
                self.seen.append(subprocess.run(["docker", "inspect", container], capture_output=True).stdout)
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.append(file.read_bytes())
                except OSError:
                    pass
            time.sleep(0.1)

    def end(self) -> bytes:
        self._over.set()
        self._thread.join()
        self._events.terminate()
        out, _ = self._events.communicate()
        return b"\n".join([*self.seen, out])


@pytest.mark.parametrize("name", ["prints", "raises", "returns_it"])
def test_a_canary_is_found_nowhere(containers: Scratch, name: str) -> None:
    # Given a secret that is known only through the .env file.
    containers.write(
        {"functions.py": CODE, "pipeline.py": pipeline("has_none", name), ".env": f"secret_key='{CANARY}'\n"}
    )
    # When a step does with it what it should not.
    watch = Watch(containers.root)
    result = containers.toolkit("run", "pipeline.py")
    watched = watch.end()
    # Then a step that only prints succeeds, and one that would publish it fails and is told why.
    assert result.code == (0 if name == "prints" else 1), result.err
    if name == "returns_it":
        assert "secret_key" in result.err and "returned" not in result.out
    # And it is in nothing that is kept, shown or passed on.
    shown = [
        containers.toolkit(*command) for command in (["show"], ["show", "--json"], ["logs"], ["catalog"], ["runs"])
    ]
    places = {
        "inspect, events and command lines": watched,
        "our own output": (result.out + result.err + "".join(one.out + one.err for one in shown)).encode(),
        "the image": subprocess.run(
            ["docker", "save", containers.show()["image"]["reference"]], capture_output=True
        ).stdout,
    }
    for file in (containers.root / ".toolkit").rglob("*"):
        if file.is_file():
            places[str(file)] = file.read_bytes()
    assert len(watched) > 1000
    for place, content in places.items():
        for form in forms_of(CANARY):
            assert form not in content, f"the canary is in {place}"
    assert json.loads(containers.toolkit("logs", "--json").out), "the steps did run"


def test_every_step_gets_its_own_secrets_and_those_of_the_configuration(containers: Scratch) -> None:
    containers.write(
        {
            "toolkit.yaml": "executor:\n  type: argo\n  config:\n    secrets_from_k8s:\n"
            "      - {environment_variable: common, secret_name: a, secret_key: b}\n",
            ".env": "common=for-all\nmine=for-one\nother=for-none\n",
            "functions.py": "import os\n"
            "def one(): assert (os.environ['common'], os.environ['mine']) == ('for-all', 'for-one')\n"
            "def two(): assert os.environ['common'] == 'for-all' and 'mine' not in os.environ and 'other' not in os.environ\n",
            "pipeline.py": "import functions\nfrom toolkit import Pipeline, PythonTask\n"
            "p = Pipeline(steps=[PythonTask(functions.one, secrets=['mine']), PythonTask(functions.two)])\n",
        }
    )
    for environment in ("local", "process"):
        result = containers.toolkit("run", "pipeline.py", "--env", environment)
        assert result.code == 0, result.err
