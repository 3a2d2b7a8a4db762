"""In what order tests run, and which of them share a process; light, as it is tested itself."""

import pytest

# Fixtures that take long: the tests of a file that share one run in the same process.
_SHARED = (
    *("run", "onnx", "averaged", "trained", "done", "undisturbed", "undisturbed_pair"),
    *("lerobots", "training", "ten_episodes", "s3"),
)
# Their tests are slow, whatever they do besides.
_SLOW = {"onnx", "simulated", "averaged", "trained"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, so that no process is left with one at the end; shared runs together."""
    for item in items:
        used = getattr(item, "fixturenames", ())
        if shared := [name for name in _SHARED if name in used]:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}-{shared[0]}"))
        if not _SLOW.isdisjoint(used):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
