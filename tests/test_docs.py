"""README.md and docs/ are what the code does."""

from pathlib import Path

from docs.generate import PAGES, stale, write


def test_generated_pages_are_fresh() -> None:
    assert stale() == [], "run python -m docs.generate"
    assert all(text().endswith("\n") for text in PAGES.values())


def test_a_page_that_was_edited_by_hand_is_stale_until_it_is_written(tmp_path: Path) -> None:
    pages = {"a.md": lambda: "# A\n", "docs/b.md": lambda: "# B\n"}
    assert write(pages, tmp_path) == ["a.md", "docs/b.md"]
    (tmp_path / "a.md").write_text("# A, by hand\n")
    assert stale(pages, tmp_path) == ["a.md"]
    assert write(pages, tmp_path) == ["a.md"]
    assert stale(pages, tmp_path) == []
