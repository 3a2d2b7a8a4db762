"""Many runs from one file: a grid or list of flags, or stages that start from each other's weights.

`sweep FILE` runs the job once for each entry, in order, or with `--index i/n` every n-th of them,
and shows all on one page at the end. Runs share the output and convert the dataset once. Each is
the job with its flags, so the same command resumes where it was; a finished run is passed over.
"""

import itertools
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job import signals
from job.errors import EXIT_DONE, Interrupted, UsageError
from job.flag_sources import UNSET, read_mapping, variable
from job.flags import REPEATED, Flags, flag, flags_of
from job.machine import WITH_PARENT
from job.output_names import CHECKPOINTS, CONVERTED, RUN
from job.run_flags import RunFlags
from job.target_command import TargetCommand

logger = logging.getLogger("act")

_PARTS = ("flags", "grid", "runs", "stages")
_INDEX = re.compile(r"(\d+)/([1-9]\d*)")
_LOOK_S = 0.2

Values = Mapping[str, Any]


@dataclass(frozen=True)
class OfJob:
    """What a sweep must know of the job."""

    kind: type[RunFlags]
    # that of a command line and an environment; raises UsageError
    parse: Callable[[Sequence[str], Mapping[str, str]], RunFlags]
    converts: Callable[[Any], bool]  # whether one has episodes to convert, that others may share
    command: Sequence[str]  # without flags


def _index(value: str) -> str | None:
    found = _INDEX.fullmatch(value)
    fine = value == "all" or (found and int(found[1]) < int(found[2]))
    return None if fine else "all, or i/n with i from 0 and below n"


@dataclass(frozen=True, kw_only=True)
class SweepFlags(Flags):
    """The command `sweep`."""

    title = "sweep"

    file: Path = Path()
    index: str = flag(
        "Share of the runs, i/n: every n-th from the i-th on; for array jobs.", "all", check=_index
    )
    dry_run: bool = flag("The commands are printed, and nothing is run.", False)


SWEEP = TargetCommand(
    "sweep",
    SweepFlags,
    "Many runs from one YAML file of flags: `flags` for all, and a `grid`, `runs`, or `stages`.",
    "[FLAG VALUE …]",
    "Exit codes: 0 all are done, 75 interrupted, else that of the first run that failed.",
    target="file",
    expected="a YAML file",
    shown="The file.",
    as_value=Path,
    limits_threads=False,
)


@dataclass(frozen=True)
class Run:
    """One of the runs: its flags stand on the command line, but for secrets and switches.

    Those stand in variables: everybody sees a command line, and it has no word for off.
    """

    name: str
    words: tuple[str, ...]
    variables: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """That of its job."""
        return os.environ | self.variables


def _make_run(name: str, values: Values, kind: type[RunFlags], where: str) -> Run:
    words: list[str] = []
    variables: dict[str, str] = {}
    types = {entry.name: (entry.type, declared.shown) for entry, declared in flags_of(kind)}
    for flag_name, value in {**values, "run_name": name}.items():
        texts = [str(one) for one in value] if isinstance(value, list) else [str(value)]
        if isinstance(value, dict) or any(isinstance(one, dict | list) for one in value or ()):
            what = f"{where}: {flag_name} is neither a value nor a list of values"
            raise UsageError(f"{what}, expected what its flag takes", code="sweep-unreadable")
        of_type, is_secret = types.get(flag_name, (None, None))
        if of_type is bool and value in ("true", "false"):
            variables[variable(flag_name)] = str(value)
        elif is_secret:
            variables[variable(flag_name)] = ",".join(texts)
        elif value not in UNSET:
            joined = texts if of_type in REPEATED else [",".join(texts)]
            words += [f"--{flag_name}={text}" for text in joined]
    return Run(name, tuple(words), variables)


def read_sweep(path: Path, of_job: OfJob) -> tuple[list[Run], bool]:
    """The runs of a file, each a job that is understood, and whether they are stages.

    Raises UsageError with the run at fault.
    """
    content = read_mapping(path, "sweep")
    unknown = sorted(set(content) - set(_PARTS))
    kinds = [part for part in _PARTS[1:] if part in content]
    if unknown or len(kinds) != 1:
        found = unknown[0] if unknown else " and ".join(kinds) or "none of them"
        raise UsageError(
            f"{path}: found {found}, expected `flags` for all runs, and one of `grid`, `runs` and "
            f"`stages`",
            code="sweep-unreadable",
        )
    shared = _mapping(content.get("flags") or {}, f"{path}: flags")
    expanded = [*_expanded(path, shared, kinds[0], content[kinds[0]])]
    _refuse_one_repository(path, [str(values.get("output", "")) for _, values in expanded])
    runs = [_make_run(name, values, of_job.kind, f"{path}: {name}") for name, values in expanded]
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            raise UsageError(
                f"{path}: {names.count(run.name)} runs are called {run.name}, expected names that "
                f"differ; give each a run_name",
                code="sweep-unreadable",
            )
        try:
            of_job.parse(run.words, run.environment)
        except UsageError as error:
            raise UsageError(f"{path}: run {run.name}: {error}", code=error.code) from None
    return runs, kinds[0] == "stages"


def _refuse_one_repository(path: Path, outputs: Sequence[str]) -> None:
    """A repository of the Hub takes one run; raises UsageError."""
    for one in outputs:
        if one.startswith("hf://") and outputs.count(one) > 1:
            raise UsageError(
                f"{path}: {outputs.count(one)} runs have the output {one}, expected one run in a "
                f"repository of the Hub; give each a branch under `runs`: {one}@BRANCH",
                code="flags-conflict",
            )


def _expanded(
    path: Path, shared: Values, kind: str, given: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name of each run and its flags."""
    name = str(shared.get("run_name") or path.stem)
    if kind == "grid":
        named = _mapping(given or None, f"{path}: grid")
        axes = {key: _list(one, f"{path}: {key}") for key, one in named.items()}
        for values in itertools.product(*axes.values()):
            point = dict(zip(axes, values, strict=True))
            label = "_".join(f"{key}_{_file_name(value)}" for key, value in point.items())
            yield f"{name}_{label}", {**shared, **point}
        return
    before: dict[str, Any] = {}
    for number, entry in enumerate(_list(given, f"{path}: {kind}")):
        own = _mapping(entry, f"{path}: {kind} {number}")
        label = str(own.get("run_name") or f"{name}_{number}")
        merged = {**shared, **own}
        if kind == "stages" and before:
            merged["init_weights"] = _weights_of(before, merged)
            merged.pop("backbone_weights", None)  # of the first: this one starts with a backbone
            merged |= own
        yield label, merged
        before = merged | {"run_name": label}


def _weights_of(before: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Where the weights of the stage before are: by its name in the same output."""
    output, name = str(before.get("output", "")), str(before["run_name"])
    if output == values.get("output", ""):
        return name
    return output if output.startswith("hf://") else f"{output}/{CHECKPOINTS}/{name}"


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: expected flags by name", code="sweep-unreadable")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise UsageError(
            f"{where}: expected a list with one entry at least", code="sweep-unreadable"
        )
    return value


def _file_name(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"[^\w.-]+", "-", text)


def share(runs: Sequence[Run], index: str) -> list[Run]:
    """Those of `--index`."""
    found = _INDEX.fullmatch(index)
    return list(runs[int(found[1]) :: int(found[2])]) if found else list(runs)


def run_sweep(flags: SweepFlags, of_job: OfJob) -> int:
    """Run them; gives the exit code of the first that failed, after all were tried.

    Raises Interrupted on a signal, UsageError for a file that is not understood.
    """
    runs, staged = read_sweep(flags.file, of_job)
    if staged and flags.index != "all":
        raise UsageError(
            f"--index {flags.index} cannot apply to stages, each of which needs the one before; "
            f"leave it out",
            code="flag-unused",
        )
    mine = share(runs, flags.index)
    logger.info("sweep      %d of %d runs", len(mine), len(runs))
    failed: list[tuple[Run, int]] = []
    for number, run in enumerate(mine, start=1):
        logger.info("run        %d of %d: %s", number, len(mine), " ".join(run.words))
        if flags.dry_run:
            continue
        code = _done(of_job, run, shared=len(mine) > 1)
        if code == Interrupted.exit_code:
            raise Interrupted(
                f"{run.name} was interrupted; run the same command again", code="interrupted"
            )
        if code != EXIT_DONE:
            failed.append((run, code))
            logger.error("%s ended with %d", run.name, code)
            if staged:
                break
    if not flags.dry_run:
        _finish(of_job, mine)
    return failed[0][1] if failed else EXIT_DONE


def _done(of_job: OfJob, run: Run, shared: bool) -> int:
    """The exit code of a run, to whose job signals are passed on.

    shared: its episodes are those of the next run as well
    """
    signals.check()
    environment = run.environment | {WITH_PARENT: "1"}
    if shared and of_job.converts(of_job.parse(run.words, run.environment)):
        environment[variable("keep_converted_hdf5")] = "true"
    job = subprocess.Popen([*of_job.command, *run.words], env=environment)
    asked = False
    while True:
        try:
            code = job.wait(_LOOK_S)
            return code if code >= 0 else 128 - code
        except subprocess.TimeoutExpired:
            if signals.reason() is not None and not asked:
                asked = True
                job.terminate()


def _finish(of_job: OfJob, runs: Sequence[Run]) -> None:
    """One page about all, and the episodes that were kept for the next run are removed."""
    jobs = {run.name: of_job.parse(run.words, run.environment) for run in runs}
    for name, job in jobs.items():
        if not getattr(job, "keep_converted_hdf5", False):
            shutil.rmtree(job.output / CONVERTED / name, ignore_errors=True)
    there = [str(job.run_folder) for job in jobs.values() if (job.run_folder / RUN).exists()]
    if len(there) > 1:
        output = min(job.output for job in jobs.values())
        words = ["compare", *there, "--output", str(output)]
        subprocess.run([*of_job.command, *words], check=False)
