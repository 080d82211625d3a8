"""An image as text for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.report.table import counted, print_table, printable, sized

if TYPE_CHECKING:
    from toolkit.report.contract import ImageDocument, PackageDocument

_MOST_PACKAGES = 15
_MOST_FILES = 5
_LONGEST = 70
"""Characters of a command or a label in a line."""
_ROOT = ("", "0", "root")


def print_image(image: ImageDocument) -> None:
    """Prints what an image is made of: all layers, and the largest of what is installed and of the project's files."""
    user = image["user"]
    print(f"image     {printable(image['reference'])} ({image['id'].removeprefix('sha256:')[:12]})")
    print(f"size      {sized(image['size'])}, {counted(len(image['layers']), 'layer')}")
    print(f"platform  {image['platform']}" + (f", {printable(image['system'])}" if image["system"] else ""))
    if image["python"]:
        print(f"python    {printable(image['python']['version'])} ({printable(image['python']['executable'])})")
    else:
        print("python    none that runs")
    if image["base"]:
        print(
            f"base      {printable(image['base']['name'])}"
            + (f" ({image['base']['digest']})" if image["base"]["digest"] else "")
        )
    print(f"user      {printable(user) or '0'}" + (" (root)" if user.partition(":")[0] in _ROOT else ""))
    print()
    print_table([("LAYER", "SIZE", "DIGEST", "MADE BY"), *(
        (one["holds"] or "", sized(one["size"]), (one["digest"] or "").removeprefix("sha256:")[:12], _short(one["made_by"]))
        for one in reversed(image["layers"])
    )])  # fmt: skip
    installed = [one for one in image["packages"] if one["kind"] in ("python", "conda")]
    _print_packages("PACKAGE", installed)
    _print_packages("SYSTEM PACKAGE", [one for one in image["packages"] if one["added"]])
    others = [one for one in image["packages"] if one["kind"] in ("deb", "apk") and not one["added"]]
    if others:
        print(
            f"\n{counted(len(others), 'package')} of the operating system, {sized(sum(one['size'] for one in others))}"
        )
    code = image["code"]
    if code is not None:
        print(f"\nyour code: {counted(code['files'], 'file')}, {sized(code['size'])}")
        print_table([("FILE", "SIZE"), *((one["path"], sized(one["size"])) for one in code["largest"][:_MOST_FILES])])
    if image["labels"]:
        print()
        print_table([("LABEL", "VALUE"), *((name, _short(value)) for name, value in sorted(image["labels"].items()))])
    for warning in image["warnings"]:
        print(f"\nwarning: {printable(warning)}")


def _print_packages(title: str, packages: list[PackageDocument]) -> None:
    if not packages:
        return
    print()
    shown = packages[:_MOST_PACKAGES]
    print_table(
        [
            (title, "VERSION", "SIZE"),
            *((one["name"], one["version"], sized(one["size"]) if one["size"] else "-") for one in shown),
        ]
    )
    rest = packages[_MOST_PACKAGES:]
    if rest:
        print(f"and {len(rest)} more, {sized(sum(one['size'] for one in rest))} (all with --json)")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
