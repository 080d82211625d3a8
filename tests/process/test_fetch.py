"""`toolkit catalog` and `toolkit fetch`, as plain processes: every file and object of a run can be had, under a name of its own."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_project import LocalProject
from toolkit.runs.find import MissingObjects, RunHandle

FUNCTIONS = """\
class Model:
    def __init__(self, x):
        self.x = x

def train(x):
    open("model.pkl", "w").write(f"file {x}")
    return Model(x)

def bag():
    return {1, 2}

def first():
    return {"older"}
"""
PIPELINE = """\
import functions as f
from toolkit import Catalog, Loop, Map, Parallel, Pipeline, PythonTask, ShellTask, pickled

def puts(name, command, *keys, **options):
    return ShellTask(name, command, catalog=Catalog(put=list(keys), **options))

def branch(side):
    return Pipeline([puts("load", f"echo {side} > shop.db", "shop.db")])

item = PythonTask(f.train, returns=[pickled("model")], catalog=Catalog(put=["model.pkl"]))
inner = Map("inner", Pipeline([puts("deep", "echo $x$y > d", "d")]), iterate_on="ys", iterate_as="y")
p = Pipeline(name="p", steps=[
    puts("whole", "echo whole > model.pkl; mkdir -p sub/none; echo 1 > sub/a; echo first > f", "model.pkl", "sub", "f"),
    PythonTask(f.first, returns=[pickled("bag")]),
    PythonTask(f.bag, returns=[pickled("bag")]),
    Map("m", Pipeline([item, inner]), iterate_on="xs", iterate_as="x"),
    Map("again", Pipeline([puts("d", "echo newer > model.pkl", "model.pkl")]), iterate_on="ys", iterate_as="y"),
    Parallel("par", {"left": branch("left"), "right": branch("right")}),
    Loop("loop", Pipeline([
        ShellTask("turn", "echo $i > f; echo only > once-$i; export done=$([ $i = 1 ] && echo true || echo false)",
                  returns=["done"], catalog=Catalog(put=["f", "once-*"]))]),
        max_iterations=3, break_on="done", index_as="i"),
    ShellTask("use", "cat 0/model.pkl 1/model.pkl model.pkl f; ls *",
              catalog=Catalog(get=["*/model.pkl", "*/*/d", "model.pkl", "f", "par/left/load:shop.db"])),
])
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> LocalProject:
    """A project with the run ``one`` of maps, branches and a loop."""
    project = LocalProject(tmp_path_factory.mktemp("ran"))
    project.write("functions.py", FUNCTIONS)
    project.write("pipeline.py", PIPELINE)
    assert project.run("pipeline.py", "--param", "xs=[7,8]", "--param", "ys=[3]", "--run-id", "one") == 0, project.err
    return project


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


FILES = {
    "model.pkl": b"whole\n",
    "sub/a": b"1\n",
    "0/model.pkl": b"newer\n",  # of the map `again`, as a get has it
    "1/model.pkl": b"file 8",
    "0/0/d": b"73\n",
    "1/0/d": b"83\n",
    "par/left/load/shop.db": b"left\n",
    "par/right/load/shop.db": b"right\n",
    "f": b"1\n",  # of the loop's last iteration
    "once-0": b"only\n",
    "once-1": b"only\n",
}


def test_a_fetch_has_all_files_of_maps_branches_and_loops_and_the_objects(ran: LocalProject) -> None:
    assert ran.toolkit("fetch", "one") == 0, ran.err
    assert ran.out == ".toolkit/fetched/one\n" and "12 files and 1 object of the run one in" in ran.err
    folder = ran.root / ".toolkit" / "fetched" / "one"
    found = files_in(folder)
    # A file of its name wins over the objects `model` of the items.
    assert pickle.loads(found.pop("bag.pkl")) == {1, 2}
    assert found == FILES and (folder / "sub" / "none").is_dir()


def test_each_key_that_is_listed_gives_that_file_or_object(ran: LocalProject) -> None:
    rows = ran.show("catalog", "one")
    keys = [row["key"] for row in rows]
    assert len(set(keys)) == len(keys) and {*FILES, "bag.pkl", "first:bag", "m/0/train:model.pkl"} <= set(keys)
    for row in rows:
        [fetched] = fetched_rows(ran, "one", row["key"])
        assert {**row, "file": fetched["file"]} == fetched
    assert ran.toolkit("catalog", "one") == 0 and "loop/0/turn:f" in ran.out and "functions.Model" in ran.out


def fetched_rows(project: LocalProject, *arguments: str) -> list[dict[str, Any]]:
    assert project.toolkit("fetch", *arguments, "--to", "../fetched", "--json") == 0, project.err
    rows: list[dict[str, Any]] = json.loads(project.out)
    return rows


def test_a_plain_key_means_what_a_get_means(ran: LocalProject) -> None:
    assert ran.toolkit("logs", "one", "use") == 0
    assert ran.out.startswith("newer\nfile 8whole\n1\n") and "shop.db" in ran.out
    got = {
        file["name"]: file["sha256"] for file in ran.show("show", "one")["steps"][-1]["attempts"][0]["catalog"]["get"]
    }
    for name, sha256 in got.items():
        key = f"par/left/load:{name}" if name == "shop.db" else name
        assert [row["sha256"] for row in fetched_rows(ran, "one", key)] == [sha256]


@pytest.mark.parametrize(
    ("key", "places"),
    [
        ("*/model.pkl", ["0/model.pkl", "1/model.pkl"]),
        ("*/model", ["0/model.pkl", "1/model.pkl"]),  # objects: no file is called so
        ("**/d", ["0/0/d", "1/0/d"]),
        ("1", ["1/0/d", "1/model.pkl"]),
        ("sub", ["sub/a", "sub/none/"]),
        ("shop.db", ["par/left/load/shop.db", "par/right/load/shop.db"]),
        ("par/right", ["par/right/load/shop.db"]),
        ("par:shop.db", ["par/left/load/shop.db", "par/right/load/shop.db"]),
        ("par/left:shop.db", ["par/left/load/shop.db"]),
        ("m/1:model.pkl", ["1/model.pkl"]),
        ("m:1/model.pkl", ["1/model.pkl"]),
        ("m/*/train:model", ["0/model.pkl", "1/model.pkl"]),
        ("m:0/0/d", ["0/0/d"]),
        ("loop/*/turn:f", ["loop/0/turn/f", "loop/1/turn/f"]),
        ("loop:f", ["f"]),
        ("whole:.", ["f", "model.pkl", "sub/a", "sub/none/"]),
        ("bag", ["bag.pkl"]),
        ("first:bag", ["bag.pkl"]),
    ],
)
def test_what_a_key_means(ran: LocalProject, key: str, places: list[str]) -> None:
    rows = fetched_rows(ran, "one", key)
    assert sorted(row["file"].removeprefix("../fetched/") for row in rows) == sorted(
        place.rstrip("/") if place.endswith("/") else place for place in places
    )


def test_an_older_object_is_its_steps(ran: LocalProject) -> None:
    for key, value in ("bag", {1, 2}), ("bag.pkl", {1, 2}), ("first:bag", {"older"}), ("first:bag.pkl", {"older"}):
        [row] = fetched_rows(ran, "one", key)
        data = (ran.root / row["file"]).read_bytes()
        assert pickle.loads(data) == value
        assert ran.toolkit("catalog", "one", "--get", key) == 0 and ran.out == data.decode("utf-8", "replace")
    # The item's file is not its object, which has a name without the suffix alone.
    assert ran.toolkit("catalog", "one", "--get", "m/0/train:model.pkl") == 0 and ran.out == "file 7"
    assert ran.toolkit("catalog", "one", "--get", "0/model") == 0 and "functions" in ran.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("catalog", "--get", "shop.db"),
            "'shop.db' names 'par/left/load/shop.db' and 'par/right/load/shop.db', and --get takes one",
        ),
        (("catalog", "--get", "d"), "the run one has nothing under 'd' in the catalog: there is '0/0/d', '1/0/d'"),
        (("fetch", "one", "modle.pkl"), "has nothing under 'modle.pkl' in the catalog: there is 'model.pkl'"),
        (("fetch", "one", "first:f"), "has nothing under 'first:f' in the catalog: there is "),
        (("fetch", "on"), "there is no run 'on', and the run one has nothing under 'on' in the catalog: there is "),
        (("fetch", "f", "absent"), "the run one has nothing under 'absent'"),
        (("fetch", "one", "1/model", "1/model.pkl"), "can't both be"),
    ],
)
def test_what_can_not_be_had(ran: LocalProject, arguments: tuple[str, ...], message: str) -> None:
    assert ran.toolkit(*arguments, *(("--to", "nowhere") if arguments[0] == "fetch" else ())) == 2
    assert message in ran.err and not files_in(ran.root / "nowhere")


@pytest.mark.parametrize("place", ["pipeline.py", "pipeline.py/below/it"])
def test_a_file_is_no_place_to_fetch_to(ran: LocalProject, place: str) -> None:
    assert ran.toolkit("fetch", "f", "--to", place) == 2
    assert "pipeline.py is a file, and no folder" in ran.err


def test_a_word_that_is_no_run_is_a_key_of_the_newest(ran: LocalProject) -> None:
    assert ran.toolkit("fetch", "f", "sub/a", "--to", "../word") == 0
    assert ran.err.startswith("'f' is no run, and so a key of the newest run, one\n2 files of the run one in ../word")
    assert set(files_in(ran.root.parent / "word")) == {"f", "sub/a"} and ran.out == "../word\n"
    # What no run can be called is asked for on no cluster.
    assert ran.toolkit("show", "0/model.pkl", "--env", "argo", "--context", "none") == 2
    assert "there is no run '0/model.pkl' here" in ran.err


# --- where it lies, and what of it is code -------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    found = LocalProject(tmp_path)
    found.write(
        "p.py",
        "from toolkit import Catalog, Pipeline, ShellTask\n"
        "p = Pipeline(steps=[ShellTask('a', 'find . | sort; echo 1 > made; echo 2 > kept',"
        " catalog=Catalog(put=['made'])), ShellTask('b', 'cp made hash', catalog=Catalog(get=['made'], put=['hash'],"
        " store_copy=False)), ShellTask('c', 'echo 3 > other', catalog=Catalog(put=['other'], store_copy=False))])\n",
    )
    assert found.run("p.py", "--run-id", "r") == 0, found.err
    return found


def code_of(project: LocalProject, run_id: str) -> str:
    """What the first step of a new run finds in its folder."""
    assert project.run("p.py", "--run-id", run_id) == 0, project.err
    assert project.toolkit("logs", run_id, "a") == 0
    return project.out


def test_what_was_fetched_is_no_code_except_beside_the_users_own_files(project: LocalProject) -> None:
    before = code_of(project, "before")
    (project.root / "empty").mkdir()
    for folder in ([], ["--to", "got"], ["--to", "out/of/it"], ["--to", "got/more"], ["--to", "empty"]):
        assert project.toolkit("fetch", "r", *folder) == 0 and "is code" not in project.err
    assert (project.root / "out" / ".toolkit-fetched").exists() and not (
        project.root / "out/of/.toolkit-fetched"
    ).exists()
    assert code_of(project, "after") == before
    assert project.toolkit("diff", "before", "after") == 0, project.out
    # A folder of the user's own stays code, and so is what is fetched into it.
    project.write("own/mine.py", "")
    assert project.toolkit("fetch", "r", "made", "--to", "own") == 0
    assert "own was there before and is code of the project" in project.err
    assert (
        "./own/made\n./own/mine.py\n" in code_of(project, "mine")
        and not (project.root / "own/.toolkit-fetched").exists()
    )
    # What .dockerignore names is none.
    project.write(".dockerignore", "own\n")
    assert project.toolkit("fetch", "r", "--to", "own") == 0 and "is code" not in project.err


def test_a_hash_alone_is_left_out_unless_it_is_asked_for(project: LocalProject) -> None:
    assert project.toolkit("fetch", "r") == 0
    # The bytes of `hash` are those of `made`.
    assert files_in(project.root / ".toolkit/fetched/r") == {"made": b"1\n", "hash": b"1\n"}
    assert "left out, because store_copy: false keeps their hashes alone: other" in project.err
    assert project.toolkit("fetch", "r", "other", "made") == 2 and "other: the object" in project.err
    assert (project.root / ".toolkit/fetched/r/made").exists()


def test_a_fetch_replaces_what_is_there_and_names_what_is_not_of_the_run(project: LocalProject) -> None:
    folder = project.root / ".toolkit" / "fetched" / "r"
    assert project.toolkit("fetch", "r") == 0
    (folder / "made").write_text("edited")
    (folder / "old").write_text("old")
    assert project.toolkit("fetch", "r") == 0 and "there from before, and not in the run: old" in project.err
    assert files_in(folder) == {"made": b"1\n", "hash": b"1\n", "old": b"old"}


def test_an_object_that_is_missing_does_not_keep_the_others_away(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(
        "q.py",
        "from toolkit import Catalog, Pipeline, ShellTask\np = Pipeline(steps=[ShellTask('a', 'echo x > x;"
        " echo y > y; echo z > z', catalog=Catalog(put=['x', 'y', 'z']))])\n",
    )
    assert project.run("q.py", "--run-id", "q") == 0
    digest = next(row["sha256"] for row in project.show("catalog", "q") if row["name"] == "y")
    next(project.root.glob(f".toolkit/volumes/*/catalog/objects/*/{digest}")).unlink()
    assert project.toolkit("fetch", "q") == 2
    assert f"y: the object {digest} is not in the catalog" in project.err and "2 files are in" in project.err
    folder = project.root / ".toolkit/fetched/q"
    assert set(files_in(folder)) == {"x", "z"}
    # On a cluster it is the volume that lacks it. What it has is here by then.
    (folder / "x").unlink()
    here = RunHandle.catalog

    def catalog(handle: RunHandle, digests: Iterable[str]) -> None:
        raise MissingObjects("an object is missing", here(handle, digests))

    monkeypatch.setattr(RunHandle, "catalog", catalog)
    assert project.toolkit("fetch", "q") == 3 and f"y: the object {digest} is not in the catalog" in project.err
    assert set(files_in(folder)) == {"x", "z"}


@pytest.mark.parametrize(
    "name", ["../out", "/tmp/out-of-it", "a/../../out", "", ".", "nul\0", "half\ud800", "x/.toolkit-fetched"]
)
def test_a_record_with_a_hostile_name_is_refused(project: LocalProject, name: str) -> None:
    [end] = project.root.glob(".toolkit/volumes/*/run_log_store/r/steps/a/1/end.json")
    record = json.loads(end.read_text())
    record["catalog"]["put"][0]["name"] = name
    end.write_text(json.dumps(record))
    assert project.toolkit("fetch", "r") == 2, project.err
    assert project.toolkit("catalog", "r") == 0
    assert not os.path.lexists(project.root / ".toolkit" / "fetched" / "out") and not os.path.lexists("/tmp/out-of-it")
    record["catalog"]["put"] = []
    record["returns"] = {name: {"kind": "object", "sha256": "a" * 64, "size": 1, "type": "set"}}
    end.write_text(json.dumps(record))
    assert project.toolkit("fetch", "r") == 2 and "Traceback" not in project.err
