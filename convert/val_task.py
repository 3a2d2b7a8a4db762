"""Which episodes of an input have a task: for a split by task."""

from convert.flags import RunConversionFlags
from convert.input_kind import find_episode_folders
from convert.sources import read_sources
from job.errors import UsageError
from job.words import nearest
from job.workers import Send, run_tasks

_OPTION = "--val_episodes task:"


def episodes_of_task(flags: RunConversionFlags, task: str) -> list[int]:
    """The numbers of the run's episodes with that task, as the dataset has it.

    Raises UsageError where there are none, or their numbers are not known before the check.
    """
    if find_episode_folders(flags.folders):
        raise UsageError(
            f"{_OPTION}{task}: episode files do not have their tasks; give numbers, like 0:10",
            code="flag-value",
        )
    if flags.only_whole_episodes:
        raise UsageError(
            f"{_OPTION}{task} with --only_whole_episodes: which episodes are left is not known "
            f"when the split is made; give numbers, or leave the broken ones out by "
            f"--exclude_episodes",
            code="flags-conflict",
        )
    # tables are read by native code, which a broken one may crash
    (tasks,) = run_tasks(_tasks, [flags], 1, lambda _: f"{flags.folders[0]}: its tasks")
    numbers = [number for number, found in enumerate(tasks) if task in found]
    if not numbers:
        known = list(dict.fromkeys(one for found in tasks for one in found))
        raise UsageError(
            f"{_OPTION}{task}: no episode has that task, found {known[:20]}"
            f"{nearest(task, known, 'task')}",
            code="flag-value",
        )
    return numbers


def _tasks(flags: RunConversionFlags, send: Send) -> None:
    """Send the tasks of each episode of the run, in order."""
    _, sources = read_sources(flags)
    send([source.episode.tasks for source in sources])
