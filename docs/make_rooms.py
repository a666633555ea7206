"""Draw the rooms of the project from what they import, as a house: a room imports only from the floors below it.

python -m docs.make_rooms     writes docs/images/rooms.svg; a test sees that it is up to date

The template, src/ with configs/ and tests/, stands on the library, trainworks/.
"""

import ast
from html import escape

from trainworks.cli.projects.closure import imported
from trainworks.root import OWN, ROOT

PICTURE = ROOT / "docs" / "images" / "rooms.svg"
ROOF = {  # beside the packages
    "train.py": "The one command.",
    "configs/": "One YAML file an experiment.",
    "tests/": "They mirror src/.",
}
TEMPLATE = {  # the packages of src, whose `__init__` is empty
    f"{OWN}/models": "The tasks, their networks and losses.",
    f"{OWN}/datamodules": "The data of the examples.",
    f"{OWN}/callbacks": "Callbacks that are examples.",
}
NO_ROOMS = ("__init__", "lazy", "root", "testing", "tests")  # of trainworks/: below all rooms, or beside them
WIDTH, HEIGHT, GAP, TOP = 920, 66, 10, 44
YOURS, LIBRARY = "#d7f0dc", "#e6e8ec"
Box = tuple[str, list[str], str]  # title, lines, colour


def rooms() -> dict[str, set[str]]:
    """Return for each room of the library, a folder or module, the other rooms that its files import."""
    found: dict[str, set[str]] = {}
    for file in sorted((ROOT / "trainworks").rglob("*.py")):
        room = file.relative_to(ROOT / "trainworks").parts[0].removesuffix(".py")
        if room not in NO_ROOMS:
            paths = [path.split(".") for path in imported(file)]
            others = {path[1] for path in paths if path[0] == "trainworks" and len(path) > 1}
            found[room] = found.get(room, set()) | (others - {room})
    return {room: others & found.keys() for room, others in found.items()}


def floors(found: dict[str, set[str]]) -> list[list[str]]:
    """Return the rooms by floor, from the ground up; each stands just above the highest that it imports.

    Raises:
        ValueError: If rooms import each other in a circle.
    """
    heights: dict[str, int] = {}
    while len(heights) < len(found):
        ready = [room for room in found if room not in heights and found[room] <= heights.keys()]
        if not ready:
            raise ValueError(f"a circle of imports among {', '.join(found.keys() - heights.keys())}")
        heights |= {room: max((heights[other] + 1 for other in found[room]), default=0) for room in ready}
    return [[room for room in found if heights[room] == floor] for floor in range(max(heights.values()) + 1)]


def draw() -> str:
    """Return the picture as SVG."""
    rows = [_template(ROOF, ""), _template(TEMPLATE, "imports what trainworks calls public"), *_library()]
    height = TOP + len(rows) * (HEIGHT + GAP)
    font = 'font-family="sans-serif"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" {font}>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        *_legend(),
    ]
    for number, row in enumerate(rows):
        width = (WIDTH - GAP) / len(row) - GAP
        for column, (title, lines, color) in enumerate(row):
            x, y = GAP + column * (width + GAP), TOP + number * (HEIGHT + GAP)
            parts.append(f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="6" fill="{color}"/>')
            parts.append(_text(x + 12, y + 22, title, 15, "bold"))
            parts += [_text(x + 12, y + 41 + 16 * place, line, 12) for place, line in enumerate(lines)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _template(texts: dict[str, str], below: str) -> list[Box]:
    """Return a floor of what is the reader's own."""
    return [(title, [text, below] if below else [text], YOURS) for title, text in texts.items()]


def _library() -> list[list[Box]]:
    """Return the floors of the library, from the top down."""
    library = rooms()
    found = []
    for floor in reversed(floors(library)):
        row: list[Box] = []
        for room in floor:
            used = sorted(library[room], key=list(library).index)
            title = f"trainworks/{room}" + ("" if (ROOT / "trainworks" / room).is_dir() else ".py")
            row.append((title, [_docstring(room), *([f"imports {', '.join(used)}"] if used else [])], LIBRARY))
        found.append(row)
    return found


def _legend() -> list[str]:
    entries = ((YOURS, "the template: yours, change, add, delete"), (LIBRARY, "the library: replaced whole by update"))
    parts = []
    for number, (color, text) in enumerate(entries):
        x = 12 + 310 * number
        parts += [f'<rect x="{x}" y="14" width="18" height="18" rx="4" fill="{color}"/>', _text(x + 26, 28, text, 13)]
    return [*parts, _text(640, 28, "a room imports only from the floors below", 13)]


def _text(x: float, y: float, text: str, size: int, weight: str = "normal") -> str:
    attributes = f'x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}" fill="#1f2328"'
    return f"<text {attributes}>{escape(text)}</text>"


def _docstring(room: str) -> str:
    """Return the first line of what a room of the library says of itself."""
    file = ROOT / "trainworks" / room / "__init__.py"
    file = file if file.exists() else ROOT / "trainworks" / f"{room}.py"
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").splitlines()[0]


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))
