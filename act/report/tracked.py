"""The report's figures of an evaluation, as pictures for the trackers of its run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from act.report import evaluation_figures
from act.report.drawing import PngDrawings
from act.report.run_files import RunFiles, read_run
from act.report.templating import template_text
from act.trackers.trackers import FOLDER, Trackers
from job.errors import first_line
from job.warning import warn
from job.whole_files import whole_file

_PICTURES = "report"  # in the trackers' folder


def show_in_trackers(folder: Path, names: Sequence[str]) -> None:
    """Give the trackers the pictures of a finished run; what goes wrong is a warning.

    names: of the trackers; where there is none, or no evaluation, nothing is done
    """
    run = read_run(folder)
    if not names or run.evaluation is None or run.manifest is None or run.training is None:
        return
    about = {name: getattr(run.manifest, name) for name in ("run_name", "task_name", "flags")}
    step = run.training.steps
    try:
        paths = [_written(folder, name, content) for name, content in figures(run)]
        with Trackers(names, folder, about | {"step": step}) as trackers:
            trackers.images(step, paths)
    except Exception as error:  # the run is complete, whatever this stumbles over
        warn("tracker-failed", f"{first_line(error)}; the trackers lack the report's pictures")


def figures(run: RunFiles) -> Iterator[tuple[str, bytes]]:
    """PNG files by name: errors, checkpoints, and the actions of an episode, of each dim drawn."""
    found = run.evaluation
    assert found is not None
    kept = PngDrawings(template_text("style.css"))
    evaluation_figures.by_position(kept, found)
    evaluation_figures.by_dim(kept, found)
    evaluation_figures.ladder(kept, found)
    yield from zip(("error_by_position", "error_by_dim", "checkpoints"), kept.taken(), strict=True)
    next(evaluation_figures.episodes(kept, found, run.arrays), None)
    for number, content in enumerate(kept.taken()):
        yield f"actions_{number}", content


def _written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / FOLDER / _PICTURES / f"{name}.png"
    with whole_file(path) as file:
        file.write(content)
    return path
