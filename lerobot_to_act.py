"""The command `lerobot-to-act`, which is also the container's: which command, its exit code.

input → converted_hdf5/episode_<i>.hdf5 → checkpoints/<run_name>/ → manifest.json
The words in `COMMANDS`, as the first one, are commands of their own. Errors and signals become exit
codes in job/command.py. Nothing here imports torch, pyarrow or PyAV before it is needed: the first
line must come at once, and a mistyped flag must not wait for seconds of imports.
"""

import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from act.evaluate.flags import AfterTrainingFlags
from act.report.flags import LastReportFlags
from act.simulate.flags import EvalEnvFlags
from act.training.flags import BY_TASK, TrainingFlags
from convert.flags import RunConversionFlags
from job import signals
from job.command import (
    close_terminal,
    errors_only,
    log_to_terminal,
    refuse,
    report_error,
    run_recorded,
)
from job.command_line import OneLineParser, add_flags, given_output, make
from job.errors import EXIT_DONE, DatasetError, JobError, UsageError, VerdictError
from job.flags import defaults_of
from job.input_folders import refuse_holding, refuse_inside
from job.machine import WITH_PARENT, end_with_parent, limit_threads
from job.manifest import Manifest
from job.notice import Notice
from job.output_names import MANIFEST, RUN, STATUS
from job.ranks import (
    by_torchrun,
    hand_on_variables,
    in_group,
    leave_exit_code,
    leave_interrupted,
    on_several_machines,
    processes_to_start,
    rank,
    take_over_from_operator,
    take_over_from_scheduler,
    warn_of_variables,
)
from job.remote.address import Address, addresses
from job.remote.flags import MirrorFlags
from job.run_flags import NoticeFlags
from job.status import mirrored_to
from job.upstream_departures import DEPARTURES
from job.version import shown_version
from job.words import nearest

if TYPE_CHECKING:
    from act.evaluate.flags import EvaluateFlags
    from act.evaluate.held_out import Recorded
    from act.export.command import ExportCommand
    from act.load.source import Source
    from act.report.flags import ReportFlags
    from act.simulate.command import SimulateCommand
    from act.simulate.simulating import Demonstrations
    from act.training.rates import Measuring
    from convert.input import InputEpisodes
    from episodes.episode_set import Episodes
    from job.sections.contract import Contract
    from job.sections.fetched import FetchedInput

logger = logging.getLogger("act")


@dataclass(frozen=True, kw_only=True)
class JobFlags(
    RunConversionFlags,
    TrainingFlags,
    AfterTrainingFlags,
    EvalEnvFlags,
    LastReportFlags,
    NoticeFlags,
    MirrorFlags,
):
    """The job: a conversion, a training on what it leaves, and an evaluation of that."""

    mirror: Address | None = None  # what `--output` was, where that is a folder in --work_dir


def parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> JobFlags:
    """The job that a command line asks for; raises UsageError with one line."""
    if argv and not argv[0].startswith("-"):
        raise UsageError(
            f"{argv[0]!r} is no command, expected {' or '.join(COMMANDS)}, or the flags of a "
            f"training{nearest(argv[0], [*COMMANDS], 'command')}; --help lists the flags",
            code="flag-unknown",
        )
    given = parser(environ).values(argv)
    flags = make(JobFlags, given, environ)
    address = given.get("output")
    if isinstance(address, Address):
        return dataclasses.replace(flags, output=flags.work_folder(address), mirror=address)
    return flags


def parser(environ: Mapping[str, str] = os.environ) -> OneLineParser:
    """The command line of a job."""
    made = OneLineParser(
        "IMAGE",
        "A LeRobot dataset goes in, a trained ACT policy comes out. Commands do a part of it, or "
        f"go on from there: {', '.join(one.does for one in COMMANDS.values())}; "
        "check --help and so on list their flags.",
        "--run_name NAME --task_name NAME [FLAG VALUE …]",
        "As upstream ACT, but for: " + "; ".join(DEPARTURES) + ".",
    )
    add_flags(made, JobFlags, environ=environ)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of this process; returns its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["--version"]:
        print(shown_version())  # noqa: T201  it is what was asked for
        return 0
    signals.install()
    if argv[:1] not in [[command] for command in COMMANDS]:  # which each work alone
        take_over_from_operator(os.environ)
    log_to_terminal()
    code = _command(argv)
    close_terminal()
    return code


@dataclass(frozen=True)
class Command:
    """A command besides the job itself."""

    does: str  # for --help
    module: str  # imported when the command is asked for
    function: str = "main"  # in there; takes the command line, returns the exit code
    do: Callable[[Any], object] | None = None  # what it takes besides, as that needs recordings


def _command(argv: list[str]) -> int:
    command = COMMANDS.get(argv[0]) if argv else None
    if command is None:
        return _train(argv)
    run = attrgetter(command.function)(import_module(command.module))
    code: int = run(argv[1:]) if command.do is None else run(command.do, argv[1:])
    return code


def _export(flags: "ExportCommand") -> None:
    from act.export.exporting import export

    export(flags, flags.run, partial(recorded_episodes, flags))


def _simulate(flags: "SimulateCommand") -> None:
    from act.simulate.simulating import simulate

    simulate(flags, flags.run, partial(demonstrations, flags.input))


def demonstrations(given: Sequence[Path], source: "Source") -> "Demonstrations | None":
    """The motion of all episodes that a run was trained on; None where they are not at hand.

    given: --input
    """
    from act.simulate.simulating import Demonstrations
    from convert.of_run import episodes_of_run
    from episodes.reader import read_vectors

    if not (folders := _dataset_of(given, source)):
        return None
    with TemporaryDirectory() as scratch, errors_only():
        run = source.checkpoint.parent / RUN
        reading, paths = episodes_of_run(run, folders, Path(scratch), None, images=False)
        vectors = [read_vectors(path, reading.base_action) for path in paths]
    qpos, action = zip(*vectors, strict=True)
    return Demonstrations(qpos, action)


def _dataset_of(given: Sequence[Path], source: "Source") -> tuple[Path, ...]:
    """The folders of a run's dataset: those given, else its own if all are there, else none."""
    dataset = source.contract.dataset
    folders = tuple(given) or tuple(map(Path, dataset.paths if dataset else ()))
    return folders if given or all(folder.is_dir() for folder in folders) else ()


def recorded_episodes(
    flags: "ExportCommand", source: "Source", scratch: Path
) -> "tuple[Episodes, str] | None":
    """Some episodes of what a run was trained on, and which these are, to compare on.

    scratch: a folder to convert to
    returns: None where no dataset was given, and the run's own is not there
    """
    from convert.of_run import episodes_of_run
    from episodes.episode_set import open_episodes

    if not (folders := _dataset_of(flags.input, source)):
        return None
    run = source.checkpoint.parent / RUN
    reading, paths = episodes_of_run(run, folders, scratch, flags.observations)
    episodes = open_episodes(paths, reading.camera_names, reading.reading)
    return episodes, f"{', '.join(map(str, folders))}, {len(paths)} episodes of the run"


def _evaluate(flags: "EvaluateFlags") -> None:
    from act.evaluate.of_run import evaluate_run

    evaluate_run(flags, partial(episodes_to_evaluate, flags.input), _report_of)


def _report_of(folder: Path) -> None:
    from act.report.reporter import report_afterwards

    report_afterwards(folder, defaults_of(JobFlags))


def run_sweep(argv: Sequence[str]) -> int:
    """`sweep FILE`; returns the exit code."""
    from convert.input_kind import find_episode_folders
    from job import sweep

    def converts(flags: JobFlags) -> bool:
        return not addresses(flags.input) and not find_episode_folders(flags.folders)

    signals.wait_for_job()
    command = [os.environ.get("PYTHON_EXEC", sys.executable), __file__]  # as torchrun
    try:
        if any(word.partition("=")[0] == "--config" for word in argv):
            what = "--config cannot apply: the file of a sweep has the flags; put them there"
            raise UsageError(what, code="flag-unused")
        of_job = sweep.OfJob(JobFlags, parse, converts, command)
        return sweep.run_sweep(sweep.SWEEP.parse(argv), of_job)
    except JobError as error:
        return report_error(error)


def _report(flags: "ReportFlags") -> None:
    from act.report.writing import report_run

    report_run(flags, defaults_of(JobFlags))


def episodes_to_evaluate(
    given: tuple[Path, ...], folder: Path, contract: "Contract", scratch: Path
) -> "Recorded":
    """What the run in `folder` held out, converted to `scratch`; raises DatasetError.

    given: datasets to evaluate on instead of its own
    """
    from act.evaluate.held_out import conversion_flags, recorded, split_of, wanted
    from convert.of_run import chosen_episodes

    folders = given or tuple(map(Path, contract.dataset.paths if contract.dataset else ()))
    if not folders:
        raise DatasetError(
            f"{folder}: does not name the dataset that it was trained on, expected one to evaluate "
            f"on; name it with --input",
            code="input-missing",
        )
    otherwise, validated = conversion_flags(contract), split_of(folder)

    def numbers(count: int, is_of_run: bool) -> list[int]:
        return wanted(count, is_of_run, validated).numbers

    found = chosen_episodes(folder, folders, scratch, numbers, otherwise)
    return recorded(
        found.paths,
        found.sources,
        wanted(found.count, found.is_of_run, validated),
        contract,
        reading=found.flags.reading,
        is_of_run=found.is_of_run,
        source=", ".join(map(str, folders)),
    )


def _train(argv: list[str]) -> int:
    try:
        flags = parse(argv)
    except UsageError as error:
        return refuse(error, given_output(argv, JobFlags.output) / MANIFEST)
    if flags.mirror is not None:
        return _at_address(flags, flags.mirror, argv)
    if WITH_PARENT in os.environ:
        end_with_parent(signal.SIGTERM)
    try:
        refuse_inside(flags.output, flags.folders)
    except UsageError as error:
        return report_error(error)  # a manifest would be written into the input
    logger.info("%s: %s", shown_version(), ", ".join(map(str, flags.input)))
    asked = flags
    try:
        refuse_inside(flags.run_folder, flags.folders)
        refuse_holding(flags.run_folder, flags.folders)
        flags, fetched = _fetch(flags)
    except JobError as error:
        return refuse(error, flags.output / MANIFEST)
    if count := processes_to_start(flags.processes, flags.device):
        signals.wait_for_processes()
        hand_on_variables(os.environ)
        from act.processes.torchrun import launch, lost_job

        code = launch(_manifests(flags), Path(__file__), argv, count)
        if lost := lost_job(flags.run_folder / MANIFEST):  # which could send none
            Notice(flags.notify_url, lambda: lost).send(code)
        return code
    limit_threads()
    if by_torchrun():
        end_with_parent(signal.SIGTERM)
    if flags.max_hours:
        signals.end_after(flags.max_hours)
    manifest = job_manifest(asked, fetched)
    with signals.last_action(lambda _: leave_interrupted()):
        notice = Notice(flags.notify_url if rank() == 0 else "", lambda: manifest.content)
        with notice.of_job():
            code = run_recorded(manifest, partial(do_job, flags))
            code = leave_exit_code(_code_of_verdict(flags) if code == EXIT_DONE else code)
        notice.send(code)
        return code


def _at_address(flags: JobFlags, address: Address, argv: Sequence[str]) -> int:
    """The job as a process of its own, whose output goes to an address."""
    from job.remote.mirrored import run_mirrored
    from job.remote.published import run_published

    take_over_from_scheduler(os.environ)
    if in_group() or on_several_machines():
        what = (
            f"--output {address}: an address takes the run of one machine, and this is one of "
            f"several processes; give a folder that they share"
        )
        return report_error(UsageError(what, code="flags-conflict"))
    command = [os.environ.get("PYTHON_EXEC", sys.executable), __file__, *argv]  # as torchrun
    patience_s = flags.mirror_patience_minutes * 60
    if address.scheme == "hf":
        files = partial(_published, flags.run_folder)
        return run_published(command, address, flags.output, flags.run_folder, files, patience_s)
    return run_mirrored(command, address, flags.output, flags.run_name, patience_s)


def _published(folder: Path, repository: str) -> "dict[str, Path | bytes]":
    """What of a run is pushed to a repository, with its model card."""
    from act.report.card import published

    return published(folder, defaults_of(JobFlags), repository)


def _fetch(flags: JobFlags) -> "tuple[JobFlags, tuple[FetchedInput, ...]]":
    """The flags with the input on this machine, for the processes that are started here too."""
    if not addresses(flags.input):
        return flags, ()
    from convert.fetch import fetch_input, tell_processes

    flags, fetched = fetch_input(flags)
    tell_processes(fetched)
    return flags, fetched


def _refuse_decoder_without_jpegs(flags: JobFlags) -> None:
    """Raise UsageError before a conversion to frames that `--jpeg_decoder gpu` does not take."""
    from convert.input_kind import find_episode_folders

    converts = not find_episode_folders(flags.folders)
    if flags.jpeg_decoder == "gpu" and flags.image_storage != "jpeg" and converts:
        raise UsageError(
            "--jpeg_decoder gpu without --frames jpeg: the dataset would become no JPEGs, expected "
            "both; give --frames jpeg too, or leave it out",
            code="flags-conflict",
        )


def _code_of_verdict(flags: JobFlags) -> int:
    """The exit code of a job that is done: the run is completed, whatever the verdict says."""
    if flags.fail_on == "no" and rank() == 0:
        from act.evaluate.of_run import refuse_no_of

        try:
            refuse_no_of(flags.run_folder)
        except VerdictError as error:
            return report_error(error)
    return EXIT_DONE


def _manifests(flags: JobFlags) -> tuple[Path, Path]:
    """The run's own, and the output's."""
    return flags.run_folder / MANIFEST, flags.output / MANIFEST


def job_manifest(flags: JobFlags, fetched: "Sequence[FetchedInput]" = ()) -> Manifest:
    """The manifest of a job, in both places.

    flags: as they were asked for, with what was fetched for them
    """
    own, of_output = _manifests(flags)
    status = flags.run_folder / STATUS
    shown = rank() == 0
    return Manifest(
        own,
        flags.resolved() | ({"output": to} if (to := mirrored_to()) else {}),
        shown=shown,
        origins=flags.origins,
        fetched=fetched,
        of_output=of_output,
        status=status,
    )


def do_job(flags: JobFlags, manifest: Manifest) -> None:
    """Convert the input unless it holds episodes already, train on them, tidy up."""
    from act.policies.backbone_file import backbone_file
    from convert.input import look_at_input

    warn_of_variables(flags.processes)
    # before torch is imported: a missing dataset, camera or weights file is reported at once
    conversion = flags.part(RunConversionFlags)  # for its processes, which load no more
    look_at_input(conversion)
    _refuse_decoder_without_jpegs(flags)
    flags = _with_recipe(_with_own_split(flags, manifest), manifest)
    conversion = flags.part(RunConversionFlags)
    if not (flags.run_folder / RUN).exists():  # a finished run needs no weights any more
        backbone_file(flags.backbone)
    from act.policies.dataset_section import dataset_section_of_files
    from act.processes.device import choose_device
    from act.processes.group import joined_group
    from act.training.loop import check_ready, train
    from act.training.run_folder import already_done, claim_folder, tidy_finished
    from convert.input import (
        convert_in_turn,
        describe_input,
        episode_files,
        remove_converted,
    )

    finished = check_ready(flags, flags.run_folder)
    measuring = _measuring(flags)
    with joined_group(choose_device(flags.device), flags.dist_timeout_s) as group:
        if group.from_first(finished):
            if group.is_first:
                files = episode_files(conversion)
                dataset = (
                    dataset_section_of_files(flags, files) if files else describe_input(conversion)
                )
                claim_folder(flags, flags.run_folder, dataset)
                tidy_finished(flags.run_folder)
            remove_converted(conversion)  # a kill may have come before it was done
            raise already_done(flags.run_folder)
        manifest.take_over()
        manifest.write()
        work = partial(_converted, flags, conversion, manifest, group.is_first)
        episodes = convert_in_turn(group, work)
        sections = episodes.dataset, episodes.conversion
        train(flags, episodes.paths, flags.run_folder, manifest, group, *sections, measuring)
        group.wait()
        if group.is_first:
            manifest.afterwards(partial(_look_at_finished, flags, manifest, episodes.paths))
        # once the run is marked as finished: it would be converted again to be resumed
        manifest.afterwards(partial(remove_converted, conversion))


def _with_own_split(flags: JobFlags, manifest: Manifest) -> JobFlags:
    """The flags with the numbers of the episodes to validate on, where a task names them."""
    if not flags.val_episodes.startswith(BY_TASK):
        return flags
    from convert.val_task import episodes_of_task
    from episodes.ranges import as_ranges

    task = flags.val_episodes.removeprefix(BY_TASK)
    numbers = as_ranges(episodes_of_task(flags.part(RunConversionFlags), task))
    manifest.resolve(val_episodes=numbers)
    logger.info("split      the episodes with the task %r, %s, are validated on", task, numbers)
    return dataclasses.replace(flags, val_episodes=numbers)


def _with_recipe(flags: JobFlags, manifest: Manifest) -> JobFlags:
    """The flags with those of their recipe, which the manifest then has and the user is shown."""
    if flags.recipe == "upstream":
        return flags
    from act.training.recipes import with_recipe
    from convert.input_numbers import input_numbers

    found = with_recipe(flags, partial(input_numbers, flags.part(RunConversionFlags)))
    before, after = flags.resolved(), found.resolved()
    changed = {name: after[name] for name in after if after[name] != before[name]}
    manifest.resolve(**changed)
    set_here = (f"--{name} {value}" for name, value in changed.items() if name != "recipe")
    logger.info("recipe     %s: %s", found.recipe, " ".join(set_here))
    return found


def _measuring(flags: JobFlags) -> "Measuring | None":
    """What measures a rate while the run trains; raises UsageError."""
    if not flags.eval_env:
        return None
    from act.simulate.while_training import RateInSimulation
    from act.training.rates import Measuring

    computing = {name: getattr(flags, name) for name in ("device", "precision")}
    rate = RateInSimulation(flags, flags.run_folder, computing)
    return Measuring(
        lambda policy, _: rate.measure(policy.state_dict()),
        flags.eval_every,
        flags.stop_at_plateau,
        rate.check if rank() == 0 else None,
    )


def _look_at_finished(flags: JobFlags, manifest: Manifest, paths: tuple[Path, ...]) -> None:
    """Evaluate the run, unless that was not wanted, and write its report."""
    if flags.eval_after_train == "on":
        _evaluate_finished(flags, manifest, paths)
    if flags.report == "on":
        _report_finished(flags, manifest)


def _evaluate_finished(flags: JobFlags, manifest: Manifest, paths: tuple[Path, ...]) -> None:
    from act.evaluate.of_run import CHANGED, evaluate_finished
    from job.output_names import CONTRACT

    record = evaluate_finished(flags.run_folder, paths, flags.reading, flags)
    if record is None:
        return
    for name in CHANGED:
        manifest.add_artifact(flags.run_folder / name)
    manifest.renew_policy(flags.run_folder / CONTRACT)
    manifest.write()


def _report_finished(flags: JobFlags, manifest: Manifest) -> None:
    from act.report.reporter import make_reporter
    from act.report.writing import WRITTEN

    if flags.tracker:
        from act.report.tracked import show_in_trackers

        show_in_trackers(flags.run_folder, flags.tracker)
    if make_reporter(flags, flags.run_folder).write():
        for name in WRITTEN:
            manifest.add_artifact(flags.run_folder / name)
        manifest.write()


def _converted(
    flags: JobFlags, conversion: RunConversionFlags, manifest: Manifest, is_first: bool
) -> "InputEpisodes":
    """The episode files of the input: as they are, or planned, claimed and converted.

    is_first: whether this process claims the run's folder
    """
    from act.training.run_folder import claim_folder
    from convert.input import InputEpisodes, convert_input, episode_files, plan_input
    from job.workers import Workers

    if files := episode_files(conversion):
        return InputEpisodes(files)
    with Workers() as pool:
        plan = plan_input(conversion, pool)
        if is_first:
            claim_folder(flags, flags.run_folder, plan.dataset)
        manifest.status.enter("convert")
        episodes = convert_input(conversion, plan, manifest, pool)
    if conversion.keep_converted_hdf5:
        for path in episodes.paths:
            manifest.add_artifact(path)
    return episodes


COMMANDS = {
    "check": Command("check INPUT … reports what is wrong with datasets", "convert.check.__main__"),
    "convert": Command("convert INPUT … OUTPUT writes their episode files", "convert.__main__"),
    "contract": Command(
        "contract FOLDER … writes policy.json for what upstream trained", "act.contract"
    ),
    "evaluate": Command(
        "evaluate RUN … says whether it works, without a robot",
        "act.evaluate.command",
        "EVALUATE.run",
        _evaluate,
    ),
    "report": Command(
        "report RUN … writes a page about it", "act.report.command", "REPORT.run", _report
    ),
    "simulate": Command(
        "simulate RUN … counts how often it succeeds in a simulator",
        "act.simulate.command",
        "SIMULATE.run",
        _simulate,
    ),
    "compare": Command("compare RUN RUN … shows several runs on one page", "act.compare.command"),
    "sweep": Command("sweep FILE runs many jobs", "lerobot_to_act", "run_sweep"),
    "average": Command("average RUN … averages checkpoints", "act.average"),
    "serve": Command("serve RUN … answers robots over the network", "act.serve.__main__"),
    "export": Command(
        "export RUN … writes a policy for LeRobot, ONNX or C++",
        "act.export.command",
        "EXPORT.run",
        _export,
    ),
    "import": Command("import FOLDER … reads one of LeRobot's", "act.export.command", "run_import"),
}


if __name__ == "__main__":
    sys.exit(main())
