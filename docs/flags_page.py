"""docs/flags.md: the flags of every command, from the classes that declare them."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from act.average import AverageFlags
from act.compare.flags import CompareFlags
from act.contract import ContractFlags
from act.evaluate.flags import EvaluateFlags
from act.export.flags import ExportFlags, ImportFlags
from act.imitate_episodes import OPTIONS, UpstreamFlags
from act.policies.registry import policies_that_obey
from act.report.flags import ReportFlags
from act.serve.flags import ServeFlags
from act.simulate.flags import SimulateFlags
from convert.flags import CheckFlags, ConvertFlags
from job.command_line import shown_default
from job.flags import REQUIRED, Flag, Flags, flags_of, titled
from job.sweep import SweepFlags
from lerobot_to_act import JobFlags

Entry = dataclasses.Field[Any]

_HEAD = """\
# Flags

Written by `python -m docs.generate` from the code; `--help` shows the same, and so does `--help`
behind the name of a command. A flag that takes several names takes them separated by commas.

Each flag may also stand in an environment variable, `ACT_` and its name in capitals
(`ACT_BATCH_SIZE=8`, `ACT_KEEP_STATE=true`; one that may be repeated takes its values separated by
commas), and in the file that `--config` or `ACT_CONFIG` names: YAML or JSON, flags by name, as
`flags` in a [manifest](manifest.md) has them. The command line wins, then the environment, then the
file; `flag_origins` in the manifest says where each stood. All commands may share variables and a
file: what another command takes is passed over, and a name that no command takes is an error. A
switch that a file sets is off again with `ACT_KEEP_STATE=false`; the command line cannot say so.
"""
_JOB = """
## The job

The last column says whether a run may be resumed with another value. Where it may not, the value
shapes the result, and a run with another one needs another `--run_name`.
"""
_CONTRACT = (
    "`contract FOLDER` writes [policy.json](policy.md) for [what upstream "
    "wrote](robot.md#what-upstream-trained)."
)
_AVERAGE = (
    "`average RUN` makes one more checkpoint, the mean of several; [averages beside "
    "training](robot.md#checkpoints) need `--ema`."
)
_EVALUATE = "`evaluate RUN` says [whether a run works](evaluate.md), without a robot."
_SERVE = "`serve RUN` answers [robots over the network](serve.md)."
_SWEEP = "`sweep FILE` runs [many jobs](rounds.md#many-runs)."
_COMPARE = "`compare RUN RUN …` shows [several runs on one page](while-it-trains.md#compare)."
_REPORT = "`report RUN` writes [a page about a run](report.md)."
_EXPORT = "`export RUN` writes a policy [in another format](export.md)."
_IMPORT = "`import FOLDER` makes a run of [what LeRobot trained](export.md#import)."
_SIMULATE = "`simulate RUN` counts how often a policy succeeds [in a simulator](simulate.md)."


def page() -> str:
    """The text of the page."""
    job = [line for title, entries in titled(JobFlags).items() for line in _table(title, entries)]
    return "\n".join(
        [
            _HEAD + _JOB,
            *job,
            *_command("check", "`check INPUT …` judges the data as a job would.", CheckFlags),
            *_command("convert", "`convert INPUT … OUTPUT` leaves episode files.", ConvertFlags),
            *_alone("contract", _CONTRACT, ContractFlags),
            *_alone("evaluate", _EVALUATE, EvaluateFlags),
            *_alone("report", _REPORT, ReportFlags),
            *_alone("average", _AVERAGE, AverageFlags),
            *_alone("serve", _SERVE, ServeFlags),
            *_alone("export", _EXPORT, ExportFlags),
            *_alone("import", _IMPORT, ImportFlags),
            *_alone("simulate", _SIMULATE, SimulateFlags),
            *_alone("compare", _COMPARE, CompareFlags),
            *_alone("sweep", _SWEEP, SweepFlags),
            *_upstream(),
            "",
        ]
    )


def _table(title: str, entries: Iterable[Entry]) -> list[str]:
    rows = [
        f"| `--{entry.name}` | {_default(entry)} | {_meaning(entry)} "
        f"| {'yes' if entry.metadata['flag'].same_run else 'no'} |"
        for entry in entries
    ]
    head = ["| flag | default | meaning | may change |", "| --- | --- | --- | --- |"]
    return [f"### {title[0].upper()}{title[1:]}", "", *head, *rows, ""]


def _command(name: str, what: str, kind: type[Flags]) -> list[str]:
    """The flags of another command: those of the job by name, its own in a table."""
    job = {entry.name: entry for entry, _ in flags_of(JobFlags)}
    shared = [entry for entry, _ in flags_of(kind) if _same(entry, job)]
    own = [entry for entry, _ in flags_of(kind) if not _same(entry, job)]
    return [
        f"## `{name}`",
        "",
        f"{what} It takes these flags of the job: {_names(entry.name for entry in shared)}.",
        "",
        "And these:",
        "",
        *_plain_table(own, {}),
    ]


def _alone(name: str, what: str, kind: type[Flags]) -> list[str]:
    """The flags of a command that shares none with the job."""
    entries = [entry for entries in titled(kind).values() for entry in entries]
    return [f"## `{name}`", "", what, "", *_plain_table(entries, {})]


def _upstream() -> list[str]:
    entries = [entry for entry, _ in flags_of(UpstreamFlags) if entry.name in OPTIONS]
    entries.sort(key=lambda entry: entry.default is not REQUIRED)
    return [
        "## `python -m act.imitate_episodes`",
        "",
        "Upstream's command line, for a folder of episode files. What it does not take has the "
        "job's default.",
        "",
        *_plain_table(entries, OPTIONS),
    ]


def _plain_table(entries: Sequence[Entry], options: Mapping[str, str]) -> list[str]:
    names = {entry.name for entry in entries}
    rows = []
    for entry in entries:
        option = options.get(entry.name, entry.name)
        rows.append(f"| `--{option}` | {_default(entry)} | {_meaning(entry, names)} |")
    return ["| flag | default | meaning |", "| --- | --- | --- |", *rows, ""]


def _same(entry: Entry, job: Mapping[str, Entry]) -> bool:
    other = job.get(entry.name)
    if other is None or other.default != entry.default:
        return False
    return other.metadata["flag"] is entry.metadata["flag"]


def _meaning(entry: Entry, beside: Collection[str] | None = None) -> str:
    """What a flag does; beside: the flags of its command, None = all."""
    declared: Flag = entry.metadata["flag"]
    said = [declared.help]
    if declared.choices:
        said.append("One of " + ", ".join(f"`{choice}`" for choice in declared.choices) + ".")
    if obeying := policies_that_obey(entry.name):
        said.append(f"Only with {' or '.join(f'`--policy_class {name}`' for name in obeying)}.")
    other, *values = declared.only_with or ("",)
    if values and (beside is None or other in beside):
        said.append(f"Only with {' or '.join(f'`--{other} {value}`' for value in values)}.")
    if declared.needs_cameras:
        said.append("Not with `--camera_keys none`.")
    if declared.environ:
        said.append(f"The environment variable `{declared.environ}` holds another default.")
    return " ".join(said)


def _default(entry: Entry) -> str:
    shown = shown_default(entry.default)
    return shown if entry.default is REQUIRED else f"`{shown}`"


def _names(names: Iterable[str]) -> str:
    *most, last = [f"`--{name}`" for name in names]
    return f"{', '.join(most)} and {last}"
