"""A run on this machine refuses an image that its engine doesn't run, before anything is started."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from toolkit.build.environment.foreign import base
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.interpreter import Interpreter
from toolkit.engine import EngineApi
from toolkit.run.platform import runs_here, wrong_platform

IMAGE = BuiltImage("app:1", "sha256:1", "", "", "", changed=False, id="sha256:1", platform="linux/arm64")


class Engine(EngineApi):
    """An engine on amd64. Whether it has an emulator is the test's: no engine here has one."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def json(self, path: str) -> Any:
        self.asked.append(path)
        return {"Os": "linux", "Arch": "amd64"}


@pytest.fixture(params=[True, False], ids=["emulated", "alone"])
def has_emulator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    found = Interpreter("3.11.2", "/p", "/s", "/usr/bin/python3")
    monkeypatch.setattr("toolkit.build.interpreter.interpreter_of", lambda *_: found)
    monkeypatch.setattr(base, "can_run", lambda *_: request.param)
    return bool(request.param)


def test_an_image_for_another_platform_needs_an_emulator(has_emulator: bool) -> None:
    said: list[str] = []
    assert runs_here(Engine(), IMAGE, said.append) is has_emulator
    assert len(said) == has_emulator


def test_the_error_names_both_platforms_and_what_to_change() -> None:
    own = wrong_platform(Engine(), IMAGE).message
    assert "app:1 is for linux/arm64, and the engine runs linux/amd64: set build.platform" in own
    assert "executor.config.image" in wrong_platform(Engine(), replace(IMAGE, existing=True)).message


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/386", ""])
def test_what_the_engine_runs_takes_no_container(platform: str) -> None:
    engine = Engine()
    assert runs_here(engine, replace(IMAGE, platform=platform), pytest.fail)
    assert engine.asked == (["/version"] if platform else [])
