"""Draws the pictures of docs/graph.md and of examples/graph: ``python docs/pictures.py`` writes them beside the pages.

They are read on light and on dark pages: boxes have a fill of their own with dark text, all else is a grey that both show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
_GREY = "#7d8590"
_KINDS = {
    "": ("#dbe9fb", "#3b78b8", "#12263f"),
    "seen": ("#cfeed8", "#2f8a4c", "#0f3319"),
    "failed": ("#fad4d0", "#c0392b", "#4a120c"),
    "skipped": ("#eceef1", "#9aa1a9", "#5f666e"),
    "kept": ("#eceef1", "#3b78b8", "#12263f"),
    "group": ("none", _GREY, _GREY),
}
"""Fill, stroke and text of each kind of box."""
_WIDTH, _HEIGHT, _COLUMN, _ROW, _EDGE = 92, 32, 150, 54, 14

Box = tuple[float, float, str]
"""Column, row and kind."""
Arrow = tuple[str, str, str]
"""From, to, and what is written on it. Where that begins with ``after`` the arrow is dashed."""


def graph(boxes: Mapping[str, Box], arrows: Iterable[Arrow] = (), groups: Sequence[tuple[str, str, str]] = ()) -> str:
    """A picture of steps and of what follows what.

    Args:
        groups: frames around the boxes from one to another, each with its title.
    """
    places = {name: (_EDGE + column * _COLUMN, _EDGE + row * _ROW) for name, (column, row, _) in boxes.items()}
    parts = []
    for first, last, title in groups:
        (left, top), (right, bottom) = places[first], places[last]
        parts.append(
            f'<rect x="{left - 12:g}" y="{top - 22:g}" width="{right - left + _WIDTH + 24:g}" '
            f'height="{bottom - top + _HEIGHT + 34:g}" rx="8" fill="none" stroke="{_GREY}" stroke-dasharray="2 3"/>'
        )
        parts.append(_text(left - 4, top - 8, title, _GREY, "start"))
    arrows = list(arrows)
    ends = [end for _, end, _ in arrows]
    for start, end, label in arrows:
        (x1, y1), (x2, y2) = places[start], places[end]
        x1, y1, y2 = x1 + _WIDTH, y1 + _HEIGHT / 2, y2 + _HEIGHT / 2
        dashed = ' stroke-dasharray="5 4"' if label.startswith("after") else ""
        parts.append(
            f'<path d="M{x1:g} {y1:g} C{x1 + 28:g} {y1:g} {x2 - 34:g} {y2:g} {x2 - 7:g} {y2:g}" fill="none" '
            f'stroke="{_GREY}" stroke-width="1.6"{dashed} marker-end="url(#tip)"/>'
        )
        if label:
            # On the outer side of a bend, where the arrow is level: at its end, or at its begin where others meet at its end.
            x, y = (x1 + x2) / 2 - 3, y2 - 6
            if y1 != y2 and ends.count(end) > 1:
                x, y = x1 + 24, y1 - 6 if y2 > y1 else y1 + 15
            elif y1 != y2:
                x, y = x2 - 26, y2 + 15 if y2 > y1 else y2 - 7
            parts.append(_text(x, y, label, _GREY))
    for name, (_, _, kind) in boxes.items():
        x, y = places[name]
        fill, stroke, colour = _KINDS[kind]
        dashed = ' stroke-dasharray="4 3"' if kind in ("skipped", "kept") else ""
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{fill}" stroke="{stroke}" '
            f'stroke-width="1.4"{dashed}/>'
        )
        parts.append(_text(x + _WIDTH / 2, y + _HEIGHT / 2 + 4, name.partition("#")[0], colour))
    width = max(x for x, _ in places.values()) + _WIDTH + _EDGE
    height = max(y for _, y in places.values()) + _HEIGHT + _EDGE
    return _picture(width, height, parts)


def times(rows: Sequence[tuple[str, Sequence[tuple[str, float, float]]]], end: float) -> str:
    """A picture of what ran when: for each title the names with their begins and ends, drawn without two on one place."""
    scale, left, lane = 112, 64, 30
    parts, y = [], float(_EDGE)
    for title, bars in rows:
        lanes: list[float] = []
        top = y
        for name, begin, until in bars:
            place = next((number for number, free in enumerate(lanes) if free <= begin), len(lanes))
            lanes[place : place + 1] = [until]
            x, width = left + begin * scale, (until - begin) * scale
            fill, stroke, colour = _KINDS[""]
            parts.append(
                f'<rect x="{x:g}" y="{top + place * lane:g}" width="{width - 2:g}" height="{lane - 4}" rx="4" '
                f'fill="{fill}" stroke="{stroke}"/>'
            )
            if width >= 40:
                parts.append(_text(x + width / 2 - 1, top + place * lane + 17, name, colour))
        parts.append(_text(left - 10, top + len(lanes) * lane / 2 + 3, title, _GREY, "end"))
        y = top + len(lanes) * lane + 14
    return _picture(left + end * scale + _EDGE, y, parts)


def _text(x: float, y: float, text: str, colour: str, anchor: str = "middle") -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}" text-anchor="{anchor}">{text}</text>'


def _picture(width: float, height: float, parts: Iterable[str]) -> str:
    tip = f'<path d="M0 0L8 4L0 8z" fill="{_GREY}"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<marker id="tip" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="8" markerHeight="8" orient="auto" '
        f'markerUnits="userSpaceOnUse">{tip}</marker>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def pictures() -> dict[str, str]:
    """Each picture by its path from the project's folder."""
    example = {
        "meters": (0, 0.5, ""), "weather": (0, 2, ""), "check": (1, 0, ""), "lags": (1, 1, ""), "degrees": (1, 2, ""),
        "slow": (2, 1, ""), "quick": (2, 2, ""), "compare": (3, 1.5, ""), "report": (4, 0.75, ""),
    }  # fmt: skip
    follows = [
        ("meters", "check", ""), ("meters", "lags", ""), ("weather", "degrees", ""), ("lags", "slow", ""),
        ("lags", "quick", ""), ("degrees", "slow", ""), ("degrees", "quick", ""), ("slow", "compare", ""),
        ("quick", "compare", ""), ("compare", "report", ""), ("check", "report", "after"),
    ]  # fmt: skip
    sum_up = [
        ("meters", 0, 0.5), ("weather", 0.5, 1.5), ("check", 1.5, 2), ("lags", 2, 2.5), ("degrees", 2.5, 3),
        ("slow", 3, 5), ("quick", 5, 5.5), ("", 5.5, 5.75), ("", 5.75, 6),
    ]  # fmt: skip
    beside = [
        ("weather", 0, 1), ("meters", 0, 0.5), ("check", 0.5, 1), ("lags", 1, 1.5), ("degrees", 1, 1.5), ("slow", 1.5, 3.5),
        ("quick", 1.5, 2), ("", 3.5, 3.75), ("", 3.75, 4),
    ]  # fmt: skip
    failing = {
        "load": (0, 0.5, ""), "clean": (1, 0, "failed"), "train": (2, 0, "skipped"), "report": (3, 0, "skipped"),
        "count": (1, 1, ""), "publish": (2, 1, ""),
    }  # fmt: skip
    chain = [
        ("load", "clean", ""), ("clean", "train", ""), ("train", "report", ""), ("load", "count", ""),
        ("count", "publish", ""),
    ]  # fmt: skip
    retried = {
        "load": (0, 0.5, "kept"), "clean": (1, 0, ""), "train": (2, 0, ""), "report": (3, 0, ""),
        "count": (1, 1, "kept"), "publish": (2, 1, "kept"),
    }  # fmt: skip
    handled = {
        "load": (0, 1, ""), "clean": (1, 0.5, "failed"), "on_failure": (2, 0, ""), "train": (2, 1, "skipped"),
        "report": (3, 1, "skipped"), "count": (1, 2, ""), "publish": (2, 2, ""),
    }  # fmt: skip
    drawn = {
        "graph-edges": graph(
            {"load": (0, 0.5, ""), "count": (1, 0, ""), "draw": (1, 1, ""), "publish": (2, 0.5, "")},
            [("load", "count", "rows"), ("load", "draw", "a file"), ("count", "publish", "size"), ("draw", "publish", "after")],
        ),
        "graph-sees": graph(
            {
                "load": (0, 0, "seen"), "clean": (1, 0, "seen"), "report": (2, 0, ""),
                "look up": (0, 1, "skipped"), "draw": (1, 1, "skipped"),
            },
            [("load", "clean", ""), ("clean", "report", ""), ("look up", "draw", "")],
        ),
        "graph-names": graph(
            {"load": (0, 0, ""), "clean": (1, 1, "seen"), "report": (2, 0, "")},
            [("load", "clean", "rows"), ("clean", "report", "rows"), ("load", "report", "rows?")],
        ),
        "graph-inside": graph(
            {
                "load": (0, 0.4, ""), "limits": (1.2, 1.7, ""), "clean": (1.2, 0.4, ""), "score": (2.1, 0.4, ""),
                "report": (3.3, 0.4, ""),
            },
            [("load", "clean", "items"), ("limits", "score", ""), ("clean", "score", ""), ("score", "report", "scores")],
            [("clean", "score", "Map")],
        ),
        "graph-between": graph(
            {"left": (0, 0, ""), "right": (0, 1, ""), "both": (1, 0.5, "seen"), "Map": (2, 0.5, "")},
            [("left", "both", "after"), ("right", "both", "after"), ("both", "Map", "after")],
        ),
        "graph-failure": graph(failing, chain),
        "graph-retry": graph(retried, chain),
        "graph-handler": graph(handled, [*chain, ("clean", "on_failure", "")]),
        "graph-times": times([("a line", sum_up), ("a graph", beside)], 6),
    }  # fmt: skip
    return {
        **{f"docs/pictures/{name}.svg": text for name, text in drawn.items()},
        "examples/graph/graph.svg": graph(example, follows),
    }


def main() -> None:
    for path, text in pictures().items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(text)


if __name__ == "__main__":
    main()
