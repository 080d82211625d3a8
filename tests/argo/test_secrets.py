"""No secret is readable anywhere but in the step that gets it; and no step gets what is Argo's or the cluster's."""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.engine import without_images
from tests.support.session import Session
from tests.support.workplace import Workplace

pytestmark = [pytest.mark.argo, pytest.mark.timeout(600)]

EVERY = "canary one/+=%&ß-7d1f0a"
OWN = "canary\ttwo {{=1}} $(HOME) \"q\" 'r' 93be"

PIPELINE = """
import functions
from toolkit import Pipeline, PythonTask

p = Pipeline(steps=[
    PythonTask(functions.prints, secrets=["own_secret"]),
    PythonTask(functions.looks, returns=["seen"]),
    PythonTask(functions.raises, secrets=["own_secret"]),
])
"""
FUNCTIONS = """
import base64, os, sys, urllib.parse
from pathlib import Path

def prints():
    for value in (os.environ["every_secret"], os.environ["own_secret"]):
        print(value)
        print("a url:", urllib.parse.quote(value), "in base64:", base64.b64encode(value.encode()).decode())
        for character in value:
            # As a stream, whose parts are no secret each.
            os.write(2, character.encode())

def looks():
    return {
        "environment": sorted(name for name in os.environ if name.startswith(("ARGO_", "KUBERNETES_"))),
        "tokens": [str(one) for one in (Path("/var/run/secrets"), Path("/run/secrets")) if one.exists()],
        "token mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "serviceaccount" in line],
        "other's": "own_secret" in os.environ,
        "every's": len(os.environ["every_secret"]),
    }

def raises():
    raise ValueError(f"no connection with {os.environ['every_secret']} and {os.environ['own_secret']}")
"""


@pytest.fixture(scope="module")
def session(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    workplace.secret("postgres", password=EVERY)
    workplace.secret("toolkit-secrets", own_secret=OWN)
    root = tmp_path_factory.mktemp("secrets") / f"argo-secrets-{os.urandom(2).hex()}"
    with without_images(root):
        reference = {"environment_variable": "every_secret", "secret_name": "postgres", "secret_key": "password"}
        one = Session(workplace, workplace.project(root))
        one.configure("toolkit", {"secrets_from_k8s": [reference], "output_file": "manifest.yaml"})
        one.scratch.write({"pipeline.py": PIPELINE, "functions.py": FUNCTIONS})
        yield one


def spellings() -> list[bytes]:
    """Parts of the canaries that nothing else holds, as they may be spelled."""
    found = []
    for value in (EVERY, OWN):
        raw = value.encode()
        found += [raw, quote(value).encode(), base64.b64encode(raw), base64.b64encode(raw + b"\n")[:-4]]
        found += [json.dumps(value)[1:-1].encode(), raw.hex().encode()]
    return found


def leaks(name: str, data: bytes) -> list[str]:
    """Where a canary is, also within what is packed."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return [f"{name}: {spelled!r}" for spelled in spellings() if spelled in data]


@pytest.mark.core("a secret could be in a manifest, a log or a record")
def test_no_secret_is_readable_anywhere(session: Session, tmp_path: Path) -> None:
    """Three steps, and all that can be read of them afterwards: about 25 s."""
    scratch, workplace = session.scratch, session.workplace
    # Given a run whose steps print their secrets and fail with them.
    result = scratch.toolkit("run", "pipeline.py", "--run-id", "canary")
    assert result.code == 1, result.err
    other = session.elsewhere(tmp_path)
    # When all that can be read of it is read.
    texts = {"run": result.out + result.err}
    for command in (["compile", "pipeline.py"], ["doctor", "--env", "argo"], ["runs", "--json"]):
        done = scratch.toolkit(*command)
        texts[" ".join(command)] = done.out + done.err
    for command in (["show", "canary"], ["show", "canary", "--json"], ["logs", "canary"], ["catalog", "canary"]):
        done = other.toolkit(*command)
        assert done.code == 0, done.err
        texts[" ".join(command)] = done.out + done.err
    for kind in ("workflows.argoproj.io", "workflowtaskresults.argoproj.io", "configmaps", "pods", "events"):
        texts[kind] = workplace.kubectl("get", kind, "-o", "yaml")
    texts["described"] = workplace.kubectl("describe", "pods")
    for pod in session.pods("canary"):
        name = pod["metadata"]["name"]
        texts[f"log of {name}"] = workplace.kubectl("logs", name, "--all-containers")
    found = [leak for name, text in texts.items() for leak in leaks(name, text.encode())]
    for one in workplace.get("configmaps")["items"]:
        for key, packed in one.get("binaryData", {}).items():
            found += leaks(f"configmap {key}", base64.b64decode(packed))
    files = [scratch.root, other.root, *([workplace.folder] if workplace.folder else [])]
    count = 0
    for folder in files:
        for path in folder.rglob("*"):
            if path.is_file():
                count += 1
                found += leaks(str(path), path.read_bytes())
    # Then it is nowhere, and what is in its place says so.
    assert found == []
    assert count > 20
    assert "***" in texts["logs canary"]
    assert "no connection with *** and ***" in texts["run"]
    # And the secrets did reach the steps that were to have them.
    run = scratch.show("canary")
    assert run["steps"][0]["status"] == "succeeded"
    seen = run["steps"][1]["attempts"][0]["output_parameters"]["seen"]
    assert seen.pop("every's") == len(EVERY)
    assert seen == {"environment": [], "tokens": [], "token mounts": [], "other's": False}


def test_a_secret_that_is_missing_is_named_before_anything_starts(session: Session) -> None:
    reference = {"environment_variable": "x", "secret_name": "postgres", "secret_key": "no-such-key"}
    session.configure("key", {"secrets_from_k8s": [reference]})
    session.configure("secret", {"secrets_from_k8s": [{**reference, "secret_name": "no-such-secret"}]})
    for config, named in (("key", "no-such-key"), ("secret", "no-such-secret")):
        result = session.scratch.toolkit("run", "pipeline.py", "--config", f"{config}.yaml", "--run-id", config)
        assert result.code == 3, result.err
        assert named in result.err and "kubectl" in result.err
        assert session.pods(config) == []


def test_nothing_is_left(session: Session) -> None:
    session.scratch.wait_for(lambda: not session.running())
    session.delete_workflows()
    assert session.left() == []
