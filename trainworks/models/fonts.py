"""Fonts for names in letters that the usual one has not. Only loaded where there are such."""

from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any

from matplotlib import font_manager, rcParams


def use_font_for(names: Iterable[str]) -> None:
    """Let Matplotlib take a font that has all letters of these names where its own has not."""
    if (font := font_for(frozenset("".join(names)))) and font.name not in rcParams["font.family"]:
        rcParams["font.family"] = [*rcParams["font.family"], font.name]


def font_file(names: Iterable[str]) -> str:
    """Return the path of a font with all letters of these names, or of the usual one."""
    return getattr(font_for(frozenset("".join(names))), "fname", None) or font_manager.findfont("DejaVu Sans")


@cache
def font_for(letters: frozenset[str]) -> Any:
    """Return the first font with those letters that the usual one has not; None for none, which it says once."""
    manager = font_manager.fontManager
    usual = manager.findfont(font_manager.FontProperties(family=["sans-serif"]))
    if not (lacking := {*map(ord, letters)} - font_manager.get_font(usual).get_charmap().keys()):
        return None
    for path in {*font_manager.findSystemFonts()} - {font.fname for font in manager.ttflist}:  # installed since
        with suppress(Exception):  # no font that it can read
            manager.addfont(path)
    for font in manager.ttflist:
        with suppress(Exception):
            if "Last Resort" not in font.name and lacking <= font_manager.get_font(font.fname).get_charmap().keys():
                return font  # but the one that draws boxes
    shown = "".join(map(chr, sorted(lacking)[:10]))
    package = "fonts-noto-cjk" if min(lacking) >= 0x2E80 else "fonts-noto"
    print(f"figures cannot show {shown}: no installed font has all of it; install one, such as the package {package}")
    return None
