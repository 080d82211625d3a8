"""dockerfiles/layer.py: the tar of the installed packages, which is the same wherever and whenever they were installed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from toolkit.build.code.layer import MTIME
from toolkit.data import data_path

SCRIPT = data_path("dockerfiles/layer.py")
SITE = f"lib/python3.{sys.version_info[1]}/site-packages"
TAG = f"{sys.implementation.cache_tag}.pyc"
RECORD = "a.py,,\na-1.dist-info/uv_cache.json,sha256=x,2\na-1.dist-info/RECORD,,\n"
FILES = {
    f"{SITE}/a.py": "import os\nNAMES = {'x', 'y', 'z'}\ndef f(self, path):\n    return path in {'a', 'b', None}\n",
    f"{SITE}/a-1.dist-info/RECORD": RECORD,
    f"{SITE}/a-1.dist-info/uv_cache.json": "{}",
    f"{SITE}/a-1.dist-info/METADATA": "Name: a\n",
    f"{SITE}/package/__init__.py": "",
    f"{SITE}/package/latin.py": "# coding: latin-1\nTEXT = 'x'\n",
    f"{SITE}/package/template.py": "import {{ name }}\n",
    f"{SITE}/package/data.bin": "\0" * 700,
    f"{SITE}/{'n' * 90}/{'m' * 90}.py": "x = 1\n",
    "bin/run": "#!/opt/venv/bin/python3\n",
    "share/plugin.py": "x = 1\n",
    "conda-meta/history": "==> 2026-01-02 03:04:05 <==\n# cmd: x\n+a-1\n",
    **{
        f"{SITE}/many/module_{number}.py": f"def f_{number}(self): return {number * 999}\n" * 500
        for number in range(40)
    },
}


def install(prefix: Path, seed: int, umask: int, time: int) -> None:
    """The same packages, as another installation would leave them."""
    order = sorted(FILES)
    random.Random(seed).shuffle(order)
    before = os.umask(umask)
    try:
        for name in order:
            path = prefix / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(FILES[name].replace("2026-01-02", f"2026-01-{10 + seed}"))
        (prefix / "bin/run").chmod(0o777 & ~umask)
        (prefix / "lib64").symlink_to("lib")
        if seed:
            os.link(prefix / SITE / "a.py", prefix / SITE / "b.py")
            for name, content in ((f"a.{TAG}", f"{seed}"), ("orphan.other-1.pyc", "kept")):
                cache = prefix / SITE / "__pycache__"
                cache.mkdir(exist_ok=True)
                (cache / name).write_text(content)
        else:
            shutil.copyfile(prefix / SITE / "a.py", prefix / SITE / "b.py")
            (prefix / SITE / "__pycache__").mkdir()
            (prefix / SITE / "__pycache__/orphan.other-1.pyc").write_text("kept")
    finally:
        os.umask(before)
    for path in prefix.rglob("*"):
        os.utime(path, (time, time), follow_symlinks=False)


def run(*arguments: str | Path, cwd: Path, **variables: str) -> str:
    command = [sys.executable, "-s", "-S", "-B", str(SCRIPT), *map(str, arguments)]
    environment = {"PYTHONHASHSEED": "0", **variables}
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd, env=environment).stdout


def write(prefix: Path, folder: Path, **variables: str) -> bytes:
    run("write", prefix, folder, cwd=prefix.parent, **variables)
    return (folder / "layer.tar").read_bytes()


def test_the_same_packages_are_the_same_bytes(tmp_path: Path) -> None:
    prefix = tmp_path / "opt" / "venv"
    made = []
    for seed, umask, time, home in ((0, 0o022, 1_500_000_000, "/root"), (1, 0o077, 1_700_000_000, "/home/other")):
        install(prefix, seed, umask, time)
        made.append(write(prefix, tmp_path / "made", HOME=home, LC_ALL="C.UTF-8", EXTRA="x" * 1000 * seed))
        shutil.rmtree(tmp_path / "opt")
    assert made[0] == made[1]


def test_the_layer_holds_only_fixed_times_owners_and_modes_and_bytecode_by_hash(tmp_path: Path) -> None:
    prefix = tmp_path / "opt" / "venv"
    install(prefix, 1, 0o077, 1_600_000_000)
    write(prefix, tmp_path / "made")
    top = str(prefix).strip("/")
    with tarfile.open(tmp_path / "made" / "layer.tar") as tar:
        members = {member.name: member for member in tar}
        assert list(members) == sorted(members) and top.split("/")[0] in members
        assert {member.mtime for member in members.values()} == {MTIME}
        assert {(one.uid, one.gid, one.uname, one.gname) for one in members.values()} == {(0, 0, "", "")}
        modes = {member.mode for member in members.values() if not member.issym()}
        assert modes == {0o644, 0o755} and members[f"{top}/bin/run"].mode == 0o755
        assert members[f"{top}/lib64"].linkname == "lib"
        assert not any(member.islnk() for member in members.values())

        def content(name: str) -> bytes:
            file = tar.extractfile(f"{top}/{name}")
            assert file is not None
            return file.read()

        compiled = [name for name in members if name.endswith(f".{TAG}")]
        assert len(compiled) == 40 + 5
        assert {content(name[len(top) + 1 :])[4:8] for name in compiled} == {b"\x03\0\0\0"}
        assert content(f"{SITE}/__pycache__/orphan.other-1.pyc") == b"kept"
        assert f"{top}/share/__pycache__" not in members and f"{top}/{SITE}/package/template.py" in members
        assert content(f"{SITE}/a-1.dist-info/RECORD") == RECORD.replace(RECORD.splitlines(True)[1], "").encode()
        assert f"{top}/{SITE}/a-1.dist-info/uv_cache.json" not in members
        assert b"2026" not in content("conda-meta/history")


def test_a_source_that_is_changed_later_is_not_taken_from_its_bytecode(tmp_path: Path) -> None:
    prefix = tmp_path / "opt" / "venv"
    install(prefix, 0, 0o022, 1_600_000_000)
    write(prefix, tmp_path / "made")
    module = prefix / SITE / "a.py"
    module.write_text("NAMES = 'new'\n")
    os.utime(module, (MTIME, MTIME))
    command = [sys.executable, "-S", "-c", "import a; print(a.NAMES)"]
    done = subprocess.run(command, cwd=module.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "new\n"


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({"One_Two-1.dist-info/uv_build.json": "{}"}, "one-two\n"),
        ({"a-1.dist-info/direct_url.json": '{"url": "https://x.invalid/a.git", "vcs_info": {}}'}, "a\n"),
        ({"a-1.dist-info/direct_url.json": '{"url": "file:///build/a", "dir_info": {}}'}, "a\n"),
        ({"a-1.dist-info/direct_url.json": '{"url": "https://x.invalid/a-1.tar.gz#sha256=0"}'}, "a\n"),
        ({"a-1.dist-info/direct_url.json": '{"url": "https://x.invalid/a-1-py3-none-any.whl#sha256=0"}'}, ""),
        ({"a-1.dist-info/METADATA": ""}, ""),
    ],
)
def test_what_was_built_from_source_is_named(tmp_path: Path, files: dict[str, str], names: str) -> None:
    for name, content in files.items():
        path = tmp_path / "venv" / SITE / name
        path.parent.mkdir(parents=True)
        path.write_text(content)
    write(tmp_path / "venv", tmp_path / "made")
    assert (tmp_path / "made" / "from-source.txt").read_text() == names
    # What pip's report named before is kept.
    (tmp_path / "made" / "from-source.txt").write_text("zope-x\n")
    write(tmp_path / "venv", tmp_path / "made")
    assert (tmp_path / "made" / "from-source.txt").read_text() == f"{names}zope-x\n"


def test_pips_report_names_what_was_no_wheel(tmp_path: Path) -> None:
    urls = {"B.a": "https://x.invalid/B.a-1.tar.gz", "c": "https://x.invalid/c-1-py3-none-any.whl"}
    report = {"install": [{"metadata": {"name": name}, "download_info": {"url": url}} for name, url in urls.items()]}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert run("report", tmp_path / "report.json", cwd=tmp_path) == "b-a\n"
