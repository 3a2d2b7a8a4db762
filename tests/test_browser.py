"""Pages in a real browser: nothing is cut off or runs over, wide, narrow, dark and printed.

Where there is no chromium they are skipped.
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from act.report.writing import HTML, write_report
from lerobot_to_act import main
from tests.support.paths import ROOT
from tests.support.report_pages import DEFAULTS, HOSTILE, checked, write_evaluation

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
    pytest.mark.slow,
]
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
# Of a page in a frame: its width and its content's, what sticks out, its background
_LOOK = """
onload = () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const out = [...page.querySelectorAll("body *")].filter(one =>
    !one.closest(".scroll, pre, details:not([open]), svg") &&
    one.getBoundingClientRect().right > root.clientWidth + 1)
    .map(one => one.outerHTML.slice(0, 80));
  const found = {width: root.clientWidth, content: root.scrollWidth, out: out,
    height: root.scrollHeight, colour: getComputedStyle(page.body).backgroundColor,
    charts: page.querySelectorAll("svg").length};
  document.body.innerText = "FOUND" + JSON.stringify(found) + "END";
};
"""


def browser(*words: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, *_FLAGS, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def looked_at(page: Path, width: int, *words: str) -> dict[str, Any]:
    """What the browser makes of a page in a frame of so many pixels."""
    text = html.escape(page.read_text(encoding="utf-8"))
    frame = f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{text}"></iframe>'
    outer = page.with_name(f"outer_{width}.html")
    outer.write_text(f"<!doctype html><meta charset=utf-8><body>{frame}<script>{_LOOK}</script>")
    shown = html.unescape(browser("--dump-dom", *words, outer.as_uri()))
    found: dict[str, Any] = json.loads(re.findall(r"FOUND(\{.*\})END", shown)[0])
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with real curves, and an evaluation whose names are long and hostile."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copy(ROOT / "tests/data/metrics_cube50.jsonl", folder / "metrics.jsonl")
    which = {"flags": {"batch_size": 8}, "dataset": {"fingerprint": "0" * 64}, "finished": True}
    (folder / "run.json").write_text(json.dumps(which))
    write_evaluation(folder, HOSTILE[1], HOSTILE)
    write_report(folder, DEFAULTS)
    return folder


@pytest.fixture(scope="module")
def compared(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparison of that run with another one, whose name is long."""
    to = tmp_path_factory.mktemp("compared")
    other = shutil.copytree(run, to / ("very_long_name_" * 12))
    assert main(["compare", str(run), str(other), "--to", str(to)]) == 0
    return to / "compare.html"


@pytest.mark.parametrize("width", [1280, 380])
@pytest.mark.parametrize("which", ["report", "compare"])
def test_a_page_is_as_wide_as_its_window(run: Path, compared: Path, which: str, width: int) -> None:
    page = run / HTML if which == "report" else compared
    found = looked_at(page, width)
    assert found["width"] == width
    assert found["out"] == []
    assert found["content"] <= width
    assert found["height"] > 900
    assert found["charts"] >= (8 if which == "report" else 1)


def test_a_page_follows_the_colours_of_the_desktop(run: Path) -> None:
    checked(run)
    light = looked_at(run / HTML, 1000)["colour"]
    dark = looked_at(run / HTML, 1000, "--blink-settings=preferredColorScheme=0")["colour"]
    brightness = [sum(map(int, re.findall(r"\d+", one)[:3])) for one in (light, dark)]
    assert brightness[0] > 600
    assert brightness[1] < 150


def test_it_prints_with_all_that_is_folded(run: Path, tmp_path: Path) -> None:
    """What a reader would have to open takes pages, which it does not where it is left out."""
    text = (run / HTML).read_text(encoding="utf-8")
    without = tmp_path / "without.html"
    without.write_text(re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL))
    assert len(without.read_text()) < len(text)
    assert _pages(run / HTML, tmp_path) > _pages(without, tmp_path) >= 3


def _pages(page: Path, place: Path) -> int:
    printed = place / "printed.pdf"
    browser("--no-pdf-header-footer", f"--print-to-pdf={printed}", page.as_uri())
    return len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes()))
