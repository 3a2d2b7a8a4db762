"""A conversion within the test's own process, as its workers would do it."""

from pathlib import Path

from convert.episodes import convert_episodes
from convert.findings import refuse
from convert.flags import DataFlags
from convert.frames_choice import choose_frames
from convert.plan import Plan, make_plan
from episodes.reader import episode_path


def convert_here(flags: DataFlags, folder: Path) -> Plan:
    """Convert everything in `flags.input` into a new folder; raises JobError."""
    plan = choose_frames(make_plan(flags, folder), flags.frames, folder, refuse)
    folder.mkdir()
    convert_episodes((plan, list(range(len(plan.sources)))), lambda _: None)
    return plan


def converted_paths(plan: Plan) -> list[Path]:
    """The episode files of a plan."""
    return [episode_path(plan.folder, number) for number in range(len(plan.sources))]
