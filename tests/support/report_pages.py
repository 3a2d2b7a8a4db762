"""Pages of runs: what each must be, and folders of runs whose evaluation is written by hand."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from act.report.writing import HTML, JSON
from job.flags import defaults_of
from job.sections.report import Report
from lerobot_to_act import JobFlags
from tests.support.good_evaluation import CHUNK, evaluation
from tests.support.schema import REPORT_VALIDATOR

DEFAULTS = defaults_of(JobFlags)
SECTIONS = {
    *("findings", "dataset", "curves", "errors", "episodes", "checkpoints", "look", "simulation"),
    "reproducibility",
}
MOST_BYTES = 10_000_000
VOID = {"meta", "img", "br", "path", "use", "rect", "line", "circle"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "$\\frac{a}{b}$ & '] ]]> -->",
    "\u202eturned\u202c \U0001f916 \u0301\u0301 \n\t tab",
    "very long " * 400,
    "",
)


class Page(HTMLParser):
    """What a page is made of; raises AssertionError for tags that are not closed as opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.source = (folder / HTML).read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def ids(self) -> list[str]:
        return [str(given["id"]) for _, given in self.tags if "id" in given]

    def count(self, tag: str) -> int:
        return sum(one == tag for one, _ in self.tags)


def checked(folder: Path) -> Page:
    """The page, once it is what every page must be: whole, small, alone, without scripts."""
    page = Page(folder)
    assert (folder / HTML).stat().st_size < MOST_BYTES
    assert set(page.ids) >= SECTIONS
    assert len(page.ids) == len(set(page.ids))
    assert {tag for tag, _ in page.tags} & {"script", "iframe", "link", "object", "form"} == set()
    for tag, given in page.tags:
        assert [name for name in given if name.startswith("on")] == [], tag
        for name in {"src", "href", "xlink:href", "action"} & given.keys():
            assert str(given[name]).startswith(("data:image/jpeg;base64,", "#")), given[name]
    style = " ".join(str(given.get("style") or "") for _, given in page.tags)
    assert re.findall(r"url\((?!#)", style + page.source.split("</style>")[0]) == []
    used = re.findall(r'(?:url\(#|xlink:href="#)([\w-]+)', page.source)
    assert set(used) <= set(page.ids)
    return page


def record(folder: Path) -> Report:
    content = json.loads((folder / JSON).read_text())
    REPORT_VALIDATOR.validate(content)
    return Report.model_validate_json(json.dumps(content))


def rewrite(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def write_evaluation(folder: Path, camera: str = "top", dims: tuple[str, ...] = ("x",)) -> None:
    """One by hand, with pictures, in place of the run's own."""
    found = evaluation(dims, camera)
    (folder / "evaluation.json").write_text(found.model_dump_json())
    time = np.linspace(0, 6, 50)[:, None] + np.arange(len(dims))
    small = np.full((3, 24, 32, 3), 90, np.uint8)
    arrays: dict[str, Any] = {f"{part}_0": small for part in ("first", "middle", "last")}
    arrays |= {"reference_0": small[0], "attended_0": small[:2]}
    arrays["attention_0"] = np.random.default_rng(0).random((2, 3, 4), np.float32)
    for number, name in enumerate(("best", "typical", "worst")):
        arrays |= {f"{name}_demonstrated": np.sin(time), f"{name}_executed": np.cos(time)}
        arrays |= {f"{name}_queries": np.arange(0, 50, CHUNK), f"{name}_episode": number}
    np.savez(folder / "evaluation.npz", **arrays)
