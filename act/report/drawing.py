"""Figures as SVG elements that a page takes in: its own colours, light and dark, and unique ids."""

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO, StringIO
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.colors import get_named_colors_mapping
from matplotlib.figure import Figure

# Names that matplotlib knows here, for the page's colours: style.css has a set for light and dark
_PREFIX = "page "
_VARIABLES = (
    *("ink", "muted", "line", "train", "val", "accent", "other"),
    *("base0", "base1", "base2", "base3"),
)
INK, MUTED, LINE, TRAIN, VAL, ACCENT, OTHER, *BASELINES = (_PREFIX + one for one in _VARIABLES)
_IN_SVG = {name: "#" + 3 * f"{number:02x}" for number, name in enumerate(_VARIABLES, 1)}
_IN_CSS = re.compile(r"--(\w+): (#[0-9a-f]{6});")
_DPI = 160
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of dims are no formulas
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "path.simplify_threshold": 0.3,
}
WIDTH, HEIGHT = 4.7, 2.5  # inches of a figure in a column
_LONGEST = 28  # characters of a name in a figure
_TAG = re.compile(r"<[^>]*>")  # text of a figure has no < or > of its own
_ID = re.compile(r'(\bid="|xlink:href="#|url\(#)')
_LEFT_OUT = re.compile(
    r"<metadata>.*?</metadata>|<!--.*?-->|\s+xmlns(?::\w+)?=\"[^\"]*\"|<defs>\s*<style[^>]*>.*?"
    r"</style>\s*</defs>|<style[^>]*>.*?</style>",
    re.DOTALL,
)


class Drawings:
    """Draws the figures of a page, each with ids that no other one has."""

    def __init__(self) -> None:
        self._count = 0
        _name_colours(_IN_SVG)

    def draw(
        self, label: str, fill: Callable[[Axes], None], size: tuple[float, float] = (WIDTH, HEIGHT)
    ) -> Markup:
        """A figure with one pair of axes; label: what it shows, for those who cannot see it."""
        self._count += 1
        with drawing_style():
            figure = Figure(figsize=size, layout="constrained")
            fill(figure.add_subplot())
            return _svg(figure, f"f{self._count}", label)


class PngDrawings(Drawings):
    """Keeps the same figures as PNG files, in the colours of a light page."""

    def __init__(self, style: str) -> None:
        """style: style.css"""
        super().__init__()
        self._light = dict(reversed(_IN_CSS.findall(style)))  # the first of each: the light set
        self._kept: list[bytes] = []

    def taken(self) -> list[bytes]:
        """Those since the last call, in the order in which they were drawn."""
        kept, self._kept = self._kept, []
        return kept

    def draw(
        self, label: str, fill: Callable[[Axes], None], size: tuple[float, float] = (WIDTH, HEIGHT)
    ) -> Markup:
        """Keep it; returns nothing to show."""
        _name_colours(self._light)
        content = BytesIO()
        with drawing_style():
            figure = Figure(figsize=size, layout="constrained")
            fill(figure.add_subplot())
            figure.suptitle(label)
            figure.savefig(content, format="png", dpi=_DPI)
        _name_colours(_IN_SVG)
        self._kept.append(content.getvalue())
        return Markup()


def _name_colours(colours: Mapping[str, str]) -> None:
    known = get_named_colors_mapping()
    for name in _VARIABLES:
        known[_PREFIX + name] = colours[name]


@contextmanager
def drawing_style() -> Iterator[None]:
    """The style of all figures; what a font lacks is the browser's business."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _svg(figure: Figure, name: str, label: str) -> Markup:
    text = StringIO()
    none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata=none, transparent=True)
    _, tag, rest = text.getvalue().partition("<svg")
    drawn = _TAG.sub(lambda found: _own(found.group(), name), _LEFT_OUT.sub("", tag + rest))
    opening = f'<svg role="img" aria-label="{escape(label)}"'
    return Markup(opening + drawn.removeprefix("<svg"))


def _own(tag: str, name: str) -> str:
    """A tag with the figure's own ids and the page's colours."""
    tag = _ID.sub(lambda found: f"{found.group()}{name}-", tag)
    for variable, colour in _IN_SVG.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return tag


def shown_name(name: str | None, number: int, longest: int = _LONGEST) -> str:
    """A name from a dataset as a figure has it: on one line, and not longer than its place."""
    if name is None or not name.strip():
        return f"dim {number}"
    kept = "".join(one if _is_printable(one) else "\N{REPLACEMENT CHARACTER}" for one in name)
    return kept if len(kept) <= longest else f"{kept[: longest - 1]}…"


def _is_printable(one: str) -> bool:
    """No line breaks, and none of the marks that turn or stack what stands beside them."""
    return unicodedata.category(one)[0] in "LNPS" or one == " "
