"""The catalog: what is put and got, under which names, and from which step."""

from __future__ import annotations

from tests.conformance.case import OK, SKIPPED, Case, Expect, failed, written

ODD_NAMES = (
    "with space.txt",
    "ünï-数据-🎉.txt",
    "quote'\"`.txt",
    "$(HOME).txt",
    "{{x}}.txt",
    "-dash",
    ".hidden",
    "a:b.txt",
    "back\\slash",
)
PUT = f"""\
ODD = {ODD_NAMES!r}

def write(path, text):
    if os.path.dirname(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)

def read(path):
    with open(path) as file:
        return file.read()

def first():
    write("one.txt", "one of first")
    write("empty", "")
    write("data/a.csv", "a")
    write("data/deep/b.csv", "b")
    write("data/deep/c.txt", "c")
    write("x1.log", "x1")
    write("x2.log", "x2")
    os.chmod("x2.log", 0o700)
    os.makedirs("data/none/inside")
    write("not-put.txt", "not put")
    write("there.txt", read("there.txt") + ", changed")

def second():
    write("one.txt", "one of second")
    write("twice.txt", "one of first")
    for name in ODD:
        write("odd/" + name, name)

def third():
    assert read("one.txt") == "one of second" and read("there.txt") == "as it was, changed"
    assert read("data/deep/b.csv") == "b" and not os.path.exists("data/deep/c.txt") and not os.path.exists("x1.log")
    assert read("empty") == "" and [read("odd/" + name) for name in ODD] == list(ODD)
    write("one.txt", "changed and not put")

def fourth():
    assert read("one.txt") == "one of first" and read("x1.log") == "x1" and read("data/deep/c.txt") == "c"
    # Who may read a file that was put with its executable bit may execute it, and an empty folder is one.
    assert os.access("x2.log", os.X_OK) and os.stat("x1.log").st_mode & 0o111 == 0
    assert os.listdir("data/none/inside") == []
    assert read("there.txt") == "as it was" and not os.path.exists("not-put.txt")
    os.chmod("one.txt", 0o755)
    write("one.txt", "one of fourth")
"""

GROUND = """\
def last():
    assert open("there.txt").read() == "as it was\\n"
    for folder in ("/mnt", os.environ["TOOLKIT_VOLUME_TOOLKIT"]):
        assert open(folder + "/ground/file").read() == "kept\\n"
"""

BESIDE = """\
import pathlib
import src_module
from package import inner

HERE = pathlib.Path(__file__).resolve().parent

def writes():
    assert HERE == pathlib.Path.cwd(), HERE
    (HERE / "numbers.txt").write_text("fresh")
    (inner.HERE / "new.txt").write_text("beside the package")
    assert src_module.HERE == HERE / "src" and inner.HERE == HERE / "package"

def reads():
    assert (HERE / "numbers.txt").read_text() == "fresh"
    assert not (inner.HERE / "other.txt").exists() and (inner.HERE / "new.txt").read_text() == "beside the package"

def fails():
    raise ValueError(str(HERE == pathlib.Path.cwd()))
"""

NAMES_OF_KEYS = """\
def trains(item):
    path = f"model-{'1.10' if item == 1.1 else item}.pkl"
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    open(path, "w").write(str(item))

def reads():
    names = ["0/model-a*b.pkl", "2/model-1.10.pkl", "orders.csv", "{table}.txt"]
    assert not os.path.exists("1")
    return [open(name).read() for name in names]

p = Pipeline(steps=[
    Map("each", iterate_on="items", iterate_as="item", branch=Pipeline(steps=[
        PythonTask(trains, catalog=Catalog(put=["model-{item}.pkl"])),
        ShellTask("sees", 'test -e "model-$item.pkl"', catalog=Catalog(get=["trains:model-{item}.pkl"])),
    ])),
    ShellTask("writes", "echo $table > $table.csv && echo braces > '{table}.txt'",
        catalog=Catalog(put=["{table}.csv", "{{table}}.txt"])),
    PythonTask(reads, returns=["read"], bind={"first": {"value": "a*b"}, "version": {"value": "1.10"}, "name": "table"},
        catalog=Catalog(get=["*/model-{first}.pkl", "2/model-{version}.pkl", "writes:{name}.csv", "{{table}}.txt"])),
])
"""

LEFT = """\
def first():
    def write(name, size):
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        with open(name, "w") as file:
            file.write("x" * size)
    for name in ("kept.txt", "out/kept.csv", "step.log", "logs/deep/a", ".cache/tool/b", "__pycache__/c.pyc"):
        write(name, 1)
    write("shop.db", 12000)
    write("out/more.csv", 30)
    write("data/in.csv", 7)
    try:
        os.chmod("data/same.csv", 0o666)
    except PermissionError:
        # In an image it is root's.
        pass
    os.symlink("shop.db", "link")
    os.mkfifo("fifo")

def second():
    assert open("data/in.csv").read() == "as it was" and not os.path.exists("shop.db") and open("kept.txt").read() == "x"
    open("out/kept.csv", "a").write("y")

def item(i):
    open("model.pkl", "w").write("x" * i)

def last():
    open("half.txt", "w").write("half")
    raise RuntimeError("too early")

p = Pipeline(steps=[
    PythonTask(first, catalog=Catalog(put=["kept.txt", "out/k*"])),
    PythonTask(second, catalog=Catalog(get=["kept.txt", "out/kept.csv"])),
    Map("m", iterate_on="ns", iterate_as="i", branch=PythonTask(item).as_pipeline()),
    PythonTask(last),
])
"""

CASES = (
    Case(
        "left-files",
        "What a step left and nobody put is in its record and, of those that succeeded, in one line at the run's end.",
        **written(LEFT, {"data/in.csv": "as it was", "data/same.csv": "as it was"}),
        core="on a cluster the line is what the pods say, also a pod of several items",
        arguments=["--param", "ns=[5, 6]"],
        config={"pods_per_map": 1},
        services={"catalog": {"config": {"ignore": ["*.log", "logs"]}}},
        expect=Expect(
            code=1,
            among={"last": failed(1, "RuntimeError: too early")},
            rows=6,
            left={
                "first": {"data/in.csv": 7, "shop.db": 12000, "out/more.csv": 30},
                "second": {"out/kept.csv": 2},
                "m/0/item": {"model.pkl": 5},
                "m/1/item": {"model.pkl": 6},
                "last": {"half.txt": 4},
            },
            changed={"first": ["data/in.csv"]},
            stderr="  not kept: first wrote data/in.csv (7 B; the next step reads the project's), shop.db (12.0 kB), "
            "out/more.csv (30 B) and 3 more files (13 B): add to put what is to be kept\n",
        ),
    ),
    Case(
        "beside-the-module",
        "Path(__file__).resolve().parent is the step's folder, for modules of the root, of src and of a package.",
        steps=[
            "PythonTask(functions.writes, catalog=Catalog(put=['numbers.txt', 'package/new.txt']))",
            "PythonTask(functions.reads, catalog=Catalog(get=['numbers.txt', 'package/new.txt']))",
            "PythonTask(functions.fails)",
        ],
        code=BESIDE,
        files={
            "numbers.txt": "stale",
            "src/src_module.py": "import pathlib\nHERE = pathlib.Path(__file__).resolve().parent\n",
            "package/__init__.py": "",
            "package/inner.py": "import pathlib\nHERE = pathlib.Path(__file__).resolve().parent\n",
        },
        config={"read_only_root": True},
        expect=Expect(
            code=1,
            among={"fails": failed(1, "ValueError: True")},
            rows=3,
            puts={"writes": {"numbers.txt": "fresh", "package/new.txt": "beside the package"}},
            # The user's own file, wherever the copy lay.
            output={"fails": 'functions.py", line'},
        ),
    ),
    Case(
        "catalog",
        "Files, folders and patterns, also with unusual names. The newest file counts, and a get can name a step.",
        steps=[
            "PythonTask(functions.first, catalog=Catalog(put=['one.txt', 'empty', 'data', '*.log', 'there.txt']))",
            "PythonTask(functions.second, catalog=Catalog(put=['one.txt', 'twice.txt', 'odd/**']))",
            "PythonTask(functions.third, catalog=Catalog(get=['one.txt', 'empty', 'data/**/*.csv', 'odd', 'there.txt']))",
            "PythonTask(functions.fourth, catalog=Catalog(get=['first:one.txt', '*.log', 'data'], put=['one.txt']))",
            "ShellTask('shell', 'cat one.txt && echo more >> one.txt', catalog=Catalog(get=['one.txt'], put=['one.txt']))",
        ],
        code=PUT,
        files={"there.txt": "as it was"},
        expect=Expect(
            puts={
                "first": {
                    "one.txt": "one of first",
                    "empty": "",
                    "data/a.csv": "a",
                    "data/deep/b.csv": "b",
                    "data/deep/c.txt": "c",
                    "data/none/inside/": "",
                    "x1.log": "x1",
                    "x2.log": "x2",
                    "there.txt": "as it was, changed",
                },
                "second": {
                    "one.txt": "one of second",
                    "twice.txt": "one of first",
                    **{f"odd/{name}": name for name in ODD_NAMES},
                },
                "third": {},
                "fourth": {"one.txt": "one of fourth"},
                "shell": {"one.txt": "one of fourthmore\n"},
            }
        ),
    ),
    Case(
        "ground",
        "What a step writes over one of the project's files ends with it. What it writes below a mount path is on the volume, "
        "whose folder a variable names.",
        steps=[
            "ShellTask('writes', 'echo new > there.txt; mkdir -p /mnt/ground; echo kept > /mnt/ground/file; cat there.txt')",
            "ShellTask('reads', 'cat there.txt /mnt/ground/file \"$TOOLKIT_VOLUME_TOOLKIT/ground/file\"; rm there.txt')",
            "PythonTask(functions.last)",
        ],
        code=GROUND,
        files={"there.txt": "as it was\n"},
        expect=Expect(output={"writes": "new\n", "reads": "as it was\nkept\nkept\n"}),
    ),
    Case(
        "put-of-a-failing-step",
        "The files that a failing step has written are put. One that it has not written is no second failure.",
        steps=["PythonTask(functions.only, catalog=Catalog(put=['half.txt', 'never.txt', 'folder']))"],
        code="def only():\n    open('half.txt', 'w').write('half')\n    raise RuntimeError('too early')\n",
        expect=Expect(
            code=1, steps={"only": failed(1, "RuntimeError: too early")}, puts={"only": {"half.txt": "half"}}
        ),
    ),
    Case(
        "put-of-nothing",
        "A step fails when it has not written a file that it puts.",
        steps=["ShellTask('only', 'true', catalog=Catalog(put=['never.txt']))", "Stub('never')"],
        expect=Expect(code=1, steps={"only": failed(1, "did not write never.txt"), "never": SKIPPED}),
    ),
    Case(
        "put-of-a-link",
        "A link out of the step's folder is not followed.",
        steps=["ShellTask('only', 'ln -s /etc/hostname link', catalog=Catalog(put=['link']))"],
        expect=Expect(code=1, steps={"only": failed(1, "leads out of the step's folder")}),
    ),
    Case(
        "get-of-nothing",
        "A key that no step put fails the step before any of its code runs.",
        steps=["ShellTask('fine', 'true')", "ShellTask('only', 'echo ran', catalog=Catalog(get=['nobody.txt']))"],
        expect=Expect(
            code=1, steps={"fine": OK, "only": failed(1, "gets nobody.txt from the catalog")}, absent=["ran\n"]
        ),
    ),
    Case(
        "get-of-items",
        "A get that finds nothing says how the files of a map's items are got, and what else there is near to it.",
        steps=[
            "Map('each', iterate_on='ns', iterate_as='n', branch=ShellTask('trains', 'echo $n > model.pkl',"
            " catalog=Catalog(put=['model.pkl'])).as_pipeline())",
            "ShellTask('tables', 'mkdir out && echo x > out/table.csv', catalog=Catalog(put=['out']))",
            *(
                f"Pipeline(name={name!r}, steps=[ShellTask('gets', 'true', catalog=Catalog(get=[{key!r}]),"
                " on_failure=Stub('fine').as_pipeline())])"
                for name, key in (("plain", "model.pkl"), ("folder", "table.csv"), ("typo", "out/tabel.csv"))
            ),
            "ShellTask('all', 'cat 0/model.pkl 1/model.pkl', catalog=Catalog(get=['*/model.pkl']))",
        ],
        arguments=["--param", "ns=[5, 6]"],
        expect=Expect(
            among={
                "plain/gets": failed(1, "0/model.pkl (of that item) or */model.pkl (of all items)"),
                "folder/gets": failed(1, "there is out/table.csv"),
                "typo/gets": failed(1, "there is out/table.csv"),
            },
            rows=14,
            output={"all": "5\n6\n"},
        ),
    ),
    Case(
        "names-of-keys",
        "Keys have names in braces, which stand for the values that the step sees, spelled as they were. A value is no pattern.",
        **written(NAMES_OF_KEYS),
        arguments=["--param", 'items=["a*b", "x/y", 1.10, "{z}"]', "--param", "table=orders"],
        expect=Expect(
            rows=11,
            puts={
                "each/0/trains": {"model-a*b.pkl": "a*b"},
                "each/1/trains": {"model-x/y.pkl": "x/y"},
                "each/2/trains": {"model-1.10.pkl": "1.1"},
                "each/3/trains": {"model-{z}.pkl": "{z}"},
                "writes": {"orders.csv": "orders\n", "{table}.txt": "braces\n"},
            },
            parameters={"read": ["a*b", "1.1", "orders\n", "braces\n"]},
        ),
    ),
    Case(
        "key-of-a-list",
        "A value in a key that is neither text nor a number fails the step before any of its code runs, with its kind.",
        steps=[
            "ShellTask('lists', 'export ns=[1,2] up=..', returns=['ns', 'up'])",
            "Pipeline(name='list', steps=[ShellTask('only', 'echo ran', catalog=Catalog(put=['{ns}.csv']),"
            " on_failure=Stub('no').as_pipeline())])",
            "ShellTask('out', 'echo ran', catalog=Catalog(put=['{up}/x.csv']), bind={'up': 'up'})",
        ],
        expect=Expect(
            code=1,
            among={
                "list/only": failed(
                    1, "names ns, which is a list ([1, 2]): only text and numbers can be part of a key"
                ),
                "out": failed(1, "'../x.csv' leads out of the step's folder"),
            },
            rows=5,
            absent=["ran\n"],
        ),
    ),
    Case(
        "put-without-a-copy",
        "With store_copy: false, the hash is recorded, and the content can't be got.",
        steps=[
            "ShellTask('puts', 'echo large > large.bin', catalog=Catalog(put=['large.bin'], store_copy=False))",
            "ShellTask('gets', 'cat large.bin', catalog=Catalog(get=['large.bin']))",
        ],
        expect=Expect(
            code=3,
            steps={"puts": OK, "gets": failed(117, "was it put with store_copy: false?")},
            puts={"puts": {"large.bin": "large\n"}},
        ),
    ),
    Case(
        "catalog-of-nothing",
        "With a catalog that stores nothing, a put is recorded with its hash, and a get finds nothing.",
        steps=[
            "ShellTask('puts', 'echo x > x.txt', catalog=Catalog(put=['x.txt']))",
            "ShellTask('gets', 'cat x.txt', catalog=Catalog(get=['x.txt']))",
        ],
        services={"catalog": {"type": "do-nothing"}},
        expect=Expect(
            code=3,
            steps={"puts": OK, "gets": failed(117, "this catalog stores nothing")},
            puts={"puts": {"x.txt": "x\n"}},
            left={"puts": None},
        ),
    ),
    Case(
        "catalog-in-a-folder",
        "With compute_data_folder, keys are relative to that folder inside the step's folder.",
        steps=[
            "ShellTask('puts', 'mkdir -p out && echo x | tee y.txt out/y.txt > out/x.txt', catalog=Catalog(put=['x.txt']))",
            "ShellTask('gets', 'cat out/x.txt', catalog=Catalog(get=['x.txt']))",
        ],
        services={"catalog": {"type": "file-system", "config": {"compute_data_folder": "out"}}},
        expect=Expect(
            puts={"puts": {"x.txt": "x\n"}},
            left={"puts": {"out/y.txt": 2, "y.txt": 2}, "gets": None},
            output={"gets": "x\n"},
        ),
    ),
)
