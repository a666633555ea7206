"""The figures of exported files, as lines and as a file."""

import csv
from pathlib import Path
from typing import Any

FIRST = ("file", "format", "precision", "MB", "difference")  # columns


def table_text(rows: list[dict[str, Any]]) -> str:
    """Return figures as lines, a column for each that is known of any file."""
    keys = _columns(rows)
    lines = [keys, *([_text(row.get(key, "")) for key in keys] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    cells = [[text.rjust(width) for text, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *row[1:]]) for line, row in zip(lines, cells, strict=True))


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    """Write figures as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, _columns(rows), restval="")
        lines.writeheader()
        lines.writerows(rows)
    print(f"\nthe same table: {path}")


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys([*FIRST, *(key for row in rows for key in row)]))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.1e}" if 0 < value < 1e-3 else f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
