"""Draw the rooms of src/ from what they import, as a house: a room imports only from the floors below it.

python -m docs.make_rooms     writes docs/images/rooms.svg; a test sees that it is up to date
"""

import ast
from html import escape

from trainworks.cli.closure import ROOT, imports_of

PICTURE = ROOT / "docs" / "images" / "rooms.svg"
OUTSIDE = {  # beside src/, on the roof
    "train.py": "Machinery: the one command.",
    "configs": "Yours: one YAML file an experiment.",
    "tests": "Yours: they mirror src/.",
}
WIDTH, HEIGHT, GAP, TOP = 920, 66, 10, 44
YOURS, MACHINERY = "#d7f0dc", "#e6e8ec"


def imports() -> dict[str, set[str]]:
    """Return for each room, a folder or module of src/, the other rooms that its files import."""
    found: dict[str, set[str]] = {}
    for file in sorted((ROOT / "src").rglob("*.py")):
        room = file.relative_to(ROOT / "src").parts[0].removesuffix(".py")
        if room != "__init__":
            others = {name.split(".")[1] for name in imports_of(file)}
            found[room] = found.get(room, set()) | (others - {room})
    return found


def floors(rooms: dict[str, set[str]]) -> list[list[str]]:
    """Return the rooms by floor, from the ground up; each stands just above the highest that it imports.

    Raises:
        ValueError: If rooms import each other in a circle.
    """
    heights: dict[str, int] = {}
    while len(heights) < len(rooms):
        ready = [room for room in rooms if room not in heights and rooms[room] <= heights.keys()]
        if not ready:
            raise ValueError(f"a circle of imports among {', '.join(rooms.keys() - heights.keys())}")
        heights |= {room: max((heights[other] + 1 for other in rooms[room]), default=0) for room in ready}
    return [[room for room in rooms if heights[room] == floor] for floor in range(max(heights.values()) + 1)]


def draw() -> str:
    """Return the picture as SVG."""
    rooms = imports()
    rows = [list(OUTSIDE), *reversed(floors(rooms))]
    height = TOP + len(rows) * (HEIGHT + GAP)
    font = 'font-family="sans-serif"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" {font}>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        *_legend(),
    ]
    for row, names in enumerate(rows):
        width = (WIDTH - GAP) / len(names) - GAP
        for column, name in enumerate(names):
            x, y = GAP + column * (width + GAP), TOP + row * (HEIGHT + GAP)
            text = OUTSIDE.get(name) or _docstring(name)
            used = sorted(rooms.get(name, ()), key=list(rooms).index)
            lines = [text.removeprefix("Yours: ").removeprefix("Machinery: ")]
            lines += [f"imports {', '.join(used)}"] if used else []
            title = name if name in OUTSIDE else f"src/{name}" + ("" if (ROOT / "src" / name).is_dir() else ".py")
            color = YOURS if text.startswith("Yours") else MACHINERY
            parts.append(f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="6" fill="{color}"/>')
            parts.append(_text(x + 12, y + 22, title, 15, "bold"))
            parts += [_text(x + 12, y + 41 + 16 * number, line, 12) for number, line in enumerate(lines)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend() -> list[str]:
    entries = ((YOURS, "yours: change, add, delete"), (MACHINERY, "machinery: leave it alone"))
    parts = []
    for number, (color, text) in enumerate(entries):
        x = 12 + 250 * number
        parts += [f'<rect x="{x}" y="14" width="18" height="18" rx="4" fill="{color}"/>', _text(x + 26, 28, text, 13)]
    return [*parts, _text(512, 28, "a room imports only from the floors below it", 13)]


def _text(x: float, y: float, text: str, size: int, weight: str = "normal") -> str:
    attributes = f'x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}" fill="#1f2328"'
    return f"<text {attributes}>{escape(text)}</text>"


def _docstring(room: str) -> str:
    """Return the first line of what a room says of itself."""
    file = ROOT / "src" / room / "__init__.py"
    file = file if file.exists() else ROOT / "src" / f"{room}.py"
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").splitlines()[0]


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))
