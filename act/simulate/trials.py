"""Which checkpoints are tried, and in which ways."""

from collections.abc import Sequence
from pathlib import Path

from act.load.source import Source, checkpoint_names, find_source, run_path
from act.simulate.flags import CHUNKS, CONTRACT, SimulateFlags
from act.simulate.work import Trial, Way
from job.errors import UsageError
from job.sections.contract import Contract
from job.sections.simulation import WayName

_WEIGHT = 0.01  # of upstream's ensembling
_ALL = "all"


def find_checkpoints(run: str, flags: SimulateFlags) -> list[tuple[str, Source]]:
    """The checkpoints that are asked for, each once, with their names; raises UsageError.

    run: a run's name, or the path of its folder or of a .ckpt in it
    """
    path = run_path(run, flags.output)
    if not path.is_dir():
        if flags.checkpoints:
            raise UsageError(
                f"{path}: --checkpoints {','.join(flags.checkpoints)} was given besides a file, "
                f"expected one of the two; leave it out, or give the folder",
                code="flags-conflict",
            )
        return [(_name(path), find_source(path))]
    if not flags.checkpoints:
        source = find_source(path)
        return [(_name(source.checkpoint), source)]
    names = checkpoint_names(path) if flags.checkpoints == (_ALL,) else flags.checkpoints
    found = [(name, find_source(path, name)) for name in names]
    first: dict[str, tuple[str, Source]] = {}
    for name, source in found:  # the best one has two names
        first.setdefault(source.sha256, (name, source))
    return list(first.values())


def trials_of(found: Sequence[tuple[str, Source]], flags: SimulateFlags) -> list[Trial]:
    """Each checkpoint in each way, but for ways that are the same."""
    computing = tuple(sorted(flags.computing().items()))
    trials: list[Trial] = []
    for name, source in found:
        ways = [way_of(one, source.contract) for one in flags.executed]
        known = [(way.mode, way.horizon, way.ensembling_weight) for way in ways]
        trials += [
            Trial(name, source.checkpoint, source.sha256, way, computing)
            for number, way in enumerate(ways)
            if known.index(known[number]) == number
        ]
    return trials


def way_of(name: WayName, contract: Contract) -> Way:
    """A way of execution by its name: the contract's, or one of upstream's two."""
    advice, chunk_size = contract.execution, contract.action.chunk_size
    if name == CHUNKS:
        return Way(name, "open_loop", chunk_size, None)
    if name == CONTRACT and advice.mode == "open_loop":
        return Way(name, "open_loop", min(advice.horizon, chunk_size), None)
    weight = advice.ensembling_weight if name == CONTRACT else _WEIGHT
    return Way(name, "temporal_ensembling", None, weight)


def _name(file: Path) -> str:
    return file.stem.removeprefix("policy_").partition("_seed_")[0]
