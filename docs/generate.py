"""The pages that are made from the code: `python -m docs.generate` writes them.

`--check` writes nothing and names those that are out of date, with exit code 1.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from docs import codes_page, every_flag, flags_page, schema_page

ROOT = Path(__file__).parent.parent

# The path of a page, from the root of the repository: the function that returns its text.
PAGES: dict[str, Callable[[], str]] = {
    **{
        f"{name}.schema.json": partial(schema_page.schema_text, name)
        for name in schema_page.SCHEMAS
    },
    "job/every_flag.py": every_flag.page,
    "docs/check.md": codes_page.page,
    "docs/flags.md": flags_page.page,
    "docs/compare_json.md": partial(schema_page.page, "compare"),
    "docs/evaluation_json.md": partial(schema_page.page, "evaluation"),
    "docs/export_manifest.md": partial(schema_page.page, "export"),
    "docs/manifest.md": partial(schema_page.page, "manifest"),
    "docs/policy.md": partial(schema_page.page, "policy"),
    "docs/report_json.md": partial(schema_page.page, "report"),
    "docs/simulation_json.md": partial(schema_page.page, "simulation"),
    "docs/status_json.md": partial(schema_page.page, "status"),
}


def stale(pages: Mapping[str, Callable[[], str]] = PAGES, root: Path = ROOT) -> list[str]:
    """The pages whose file is missing or is not what the code says now."""
    return [name for name, text in pages.items() if _on_disk(root / name) != text()]


def write(pages: Mapping[str, Callable[[], str]] = PAGES, root: Path = ROOT) -> list[str]:
    """Write the stale pages; returns their names."""
    names = stale(pages, root)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(pages[name](), encoding="utf-8")
    return names


def main() -> int:
    """Write or check every page; returns the exit code."""
    reader = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    reader.add_argument("--check", action="store_true", help="write nothing; 1 if a page is stale")
    if not reader.parse_args().check:
        for name in write():
            print(f"wrote {name}")
        return 0
    for name in (names := stale()):
        print(f"{name} is not what the code says; run python -m docs.generate", file=sys.stderr)
    return 1 if names else 0


def _on_disk(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
