"""How what steps left is told: in one line at a run's end, and for each step in `show`."""

from __future__ import annotations

from typing import Any

from toolkit.report.left import LeftFiles, template_of


def left(*files: tuple[str, int] | tuple[str, int, bool], count: int | None = None, size: int | None = None) -> Any:
    """A record of these files, and of as many others as `count` has beyond them."""
    named = [{"name": name, "size": of, **({"project": True} if project else {})} for name, of, *project in files]
    return {
        "files": named,
        "count": len(files) if count is None else count,
        "size": sum(file[1] for file in files) if size is None else size,
    }


def test_without_files_nothing_is_said() -> None:
    assert (LeftFiles().sentence(), LeftFiles().lines()) == ("", [])


def test_one_file_has_its_step_its_size_and_what_to_do() -> None:
    files = LeftFiles()
    files.add("load", left(("shop.db", 12345)))
    assert files.sentence() == "not kept: load wrote shop.db (12.3 kB): add it to put to keep it"


def test_the_first_three_are_named_with_those_of_the_project_first() -> None:
    files = LeftFiles()
    files.add("load", left(("shop.db", 5000), ("a", 1), ("b", 2), count=30, size=10_000))
    files.add("clean", left(("data/in.csv", 3, True)))
    files.add("more", left(("large.bin", 9000)))
    assert files.sentence() == (
        "not kept: load wrote shop.db (5.0 kB); clean changed data/in.csv (3 B; the next step reads the project's); "
        "more wrote large.bin (9.0 kB) and 29 more files (5.0 kB): add to put what is to be kept"
    )
    assert files.lines() == [
        "load   shop.db (5.0 kB), b (2 B), a (1 B) and 27 more files (5.0 kB)",
        "clean  data/in.csv (3 B; the next step reads the project's)",
        "more   large.bin (9.0 kB)",
    ]


def test_the_items_of_a_map_are_one_step_and_their_files_of_one_name_are_one() -> None:
    files = LeftFiles()
    for position in range(100):
        files.add(template_of(f"m/{position}/train", {"m"}), left(("model.pkl", 1000)))
    assert files.sentence() == (
        "not kept: m/*/train wrote model.pkl (100 times, 100.0 kB): add to put what is to be kept"
    )
    # A container that several items shared has added them up.
    shared = LeftFiles()
    shared.add(
        "m/*/train", {"files": [{"name": "model.pkl", "size": 100_000, "items": 100}], "count": 100, "size": 100_000}
    )
    assert shared.sentence() == files.sentence()


def test_where_no_name_is_known_the_files_are_counted() -> None:
    files = LeftFiles()
    files.add("load", left(count=2, size=7))
    assert files.sentence() == "not kept: 2 files (7 B): add to put what is to be kept"


def test_a_look_that_was_cut_is_told_in_show_alone() -> None:
    files = LeftFiles()
    files.add("load", {"files": [], "count": 0, "size": 0, "incomplete": True})
    assert files.sentence() == ""
    assert files.lines() == ["load  there were too many files to look at them all"]


def test_of_many_steps_the_first_have_a_line() -> None:
    files = LeftFiles()
    for number in range(22):
        files.add(f"step-{number}", left(("a", 1)))
    assert len(files.lines()) == 21 and files.lines()[-1] == "and 2 more steps"


def test_positions_are_those_of_maps_and_loops_alone() -> None:
    repeated = {"m", "m/*/loop", "7"}
    assert template_of("m/3/loop/0/step", repeated) == "m/*/loop/*/step"
    assert template_of("m/group-2/step", repeated) == "m/*/step"
    assert template_of("m/on_failure/step", repeated) == "m/on_failure/step"
    assert template_of("par/3/step", repeated) == "par/3/step"
    assert template_of("7/7", repeated) == "7/*"
