"""Aligned columns for a person, and the pieces of text that go into them."""

from __future__ import annotations

from collections.abc import Iterable


def print_table(rows: Iterable[tuple[str, ...]]) -> None:
    """Prints rows in aligned columns; the first row is the head. A column that is empty below its head is left out."""
    printable_rows = [tuple(printable(cell) for cell in row) for row in rows]
    columns = [column for column in range(len(printable_rows[0])) if any(row[column] for row in printable_rows[1:])]
    widths = {column: max(len(row[column]) for row in printable_rows) for column in columns}
    for row in printable_rows:
        print("  ".join(row[column].ljust(widths[column]) for column in columns).rstrip())


def printable(text: str, keep: str = "") -> str:
    """The text without what would move the cursor or recolour the terminal.

    Args:
        keep: characters that stay, as the ends of lines in a text of several.
    """
    return "".join(character if character.isprintable() or character in keep else "�" for character in text)


def as_left(line: str) -> str:
    """What a line that was written over, as a bar that grows, shows at its end."""
    return line.rstrip("\r").rpartition("\r")[2]


def sized(size: int) -> str:
    """A number of bytes with a unit that makes it short."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return ""


def counted(number: int, noun: str) -> str:
    """A number with its noun in the singular or the plural."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
