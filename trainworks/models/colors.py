"""Colours of classes that colour-blind people tell apart: first Okabe and Ito's (https://jfly.uni-koeln.de/color/).

Each of the others is as far as can be from all before it, seen with all kinds of cones or without any one of them.
"""

COLORS = bytes.fromhex(
    "000000e69f0056b4e9009e73f0e4420072b2d55e00cc79a79900ffccffcc774422444444"
    "77ff884433aa8877ff77aa55663377ccccddddaaaa99440099dd55556677ffeeee7744dd"
)


def color_of(number: int) -> tuple[int, ...]:
    """Return red, green and blue of a class: black for 0, grey for what counts for nothing; from 24 on they recur."""
    first = 3 * ((number - 1) % 23 + 1) if number else 0
    return tuple(COLORS[first : first + 3]) if 0 <= number < 255 else (128, 128, 128)


def hex_color(number: int) -> str:
    """Return the colour of a class as Matplotlib takes it, such as #0072b2."""
    return f"#{bytes(color_of(number)).hex()}"
