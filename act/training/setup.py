"""A training run is put together: policy, optimizer, the state of an earlier job, loader."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from act.batches.augmentation import Augmentation
from act.batches.device_frames import fits_device
from act.batches.device_jpegs import decodes_on_device
from act.batches.kept_frames import open_cache
from act.batches.loader import Loader, Pass, passes
from act.batches.sampler import Sampler
from act.policies.contract import Subject, make_contract
from act.policies.contract_file import ContractFile
from act.policies.dataset_section import dataset_section
from act.policies.policy import Policy
from act.policies.registry import Shapes, build_policy
from act.policies.statistics import load_stats, save_stats
from act.policies.upstream_contract import STATS
from act.policies.weights import read_backbone
from act.processes.data_parallel import Computation, computation, resolved_flags
from act.processes.device import choose_device, device_section
from act.processes.group import Group
from act.report.reporter import make_reporter
from act.trackers.trackers import Trackers
from act.training.ancestor import Start, read_start, starting_stats, take_over
from act.training.average import Average
from act.training.best import Best
from act.training.checkpoints import BEST
from act.training.data import TrainingData, dataset_shares, split_section
from act.training.flags import TrainingFlags
from act.training.metrics import Metrics
from act.training.progress import Progress
from act.training.rates import Measuring, Rates
from act.training.run_folder import claim_folder
from act.training.saver import Saver
from act.training.state import State, Stateful, load_state, parse_state, read_state
from act.training.training_run import TrainingRun, global_batch
from episodes.arrays import FloatArray
from episodes.episode_set import Episodes
from episodes.frame_cache import FrameCache
from job.errors import UsageError
from job.machine import cores_each, keep_freed_memory
from job.manifest import Manifest
from job.output_names import METRICS, STATE
from job.sections.data import Conversion, Dataset
from job.upstream_departures import departures_of

_MAX_LOADER_THREADS = 8


def prepare(
    flags: TrainingFlags,
    data: TrainingData,
    folder: Path,
    manifest: Manifest,
    group: Group,
    dataset: Dataset | None = None,
    conversion: Conversion | None = None,
    measuring: Measuring | None = None,
) -> TrainingRun:
    """Put a run together, where an earlier job has left it; writes its contract and manifest.

    dataset, conversion: the manifest's sections; None: of the episode files, which were not
        converted
    measuring: what measures a rate of success now and then, the same on every process

    Raises UsageError when the folder holds another run, OutputError when its state is damaged.
    """
    device = choose_device(flags.device)
    if device.type == "cpu":
        keep_freed_memory()
    decodes_jpegs = decodes_on_device(flags.jpeg_decoder, data.episodes, device)
    policy, backbone_sha256 = make_policy(flags, data.episodes)
    start = _start(flags, folder, group)
    if start is not None:
        ancestor = take_over(start, flags, policy, data.episodes)
        data = replace(data, stats=starting_stats(start, flags, data.stats))
        manifest.set("ancestor", ancestor)
    elif flags.init_weights:
        data = replace(data, stats=_own_stats(folder, group))
    policy.to(device)
    dataset = _section(dataset, data, group)
    data = replace(data, shares=dataset_shares(flags, data, dataset))
    state = _claimed(flags, data, folder, manifest, group, dataset)
    cached = _is_cached(flags, data.episodes, device)
    subject = Subject(
        flags, policy, data.episodes, data.stats, backbone_sha256, dataset, conversion
    )
    _fill_manifest(manifest, flags, data, device)
    manifest.resolve(processes=group.size, data_cache="gpu" if cached else "none")
    contract = _written(subject, manifest, folder if group.is_first else None)
    parts = _make_parts(flags, policy, device, contract, measuring)
    if state is not None:
        load_state(state, parts.owners, folder)
        parts.progress.keep_losses(group)
    parts.metrics.rewrite()
    kept = (
        None
        if cached
        else open_cache(data.episodes, folder, flags.frames_cache_gb, shown=group.is_first)
    )
    sampler = replace(make_sampler(flags, data.episodes, policy, group), shares=data.shares)
    return TrainingRun(
        flags=flags,
        folder=folder,
        manifest=manifest,
        contract=contract,
        data=data,
        group=group,
        device=device,
        policy=policy,
        backbone_sha256=backbone_sha256,
        has_norms=backbone_sha256 is not None or bool(flags.init_weights),
        network=computation(flags, policy, device, group),
        optimizer=parts.optimizer,
        loader=_make_loader(
            flags, data, sampler, parts.progress, device, cached, decodes_jpegs, kept
        ),
        metrics=parts.metrics,
        best=parts.best,
        saver=Saver(contract.folder, flags.state_interval_minutes * 60, parts.owners),
        progress=parts.progress,
        rates=parts.rates,
        average=parts.average,
        reporter=make_reporter(flags, contract.folder),
        trackers=_make_trackers(flags, manifest, parts.progress, contract.folder),
        resumed_from_step=None if state is None else parts.progress.step,
    )


def _start(flags: TrainingFlags, folder: Path, group: Group) -> Start | None:
    """What the run starts from; None: random weights, or the state of an earlier job."""
    if not flags.init_weights:
        return None
    if group.from_first((folder / STATE).exists()):
        return None
    start = read_start(flags, folder.parent.parent) if group.is_first else None
    return group.from_first(start)


def _own_stats(folder: Path, group: Group) -> dict[str, FloatArray]:
    """The statistics that an earlier job of the run has written."""
    stats = group.from_first(load_stats(folder / STATS) if group.is_first else None)
    assert stats is not None, "the first process has read them"
    return stats


@dataclass(frozen=True)
class _Parts:
    """What a run changes, and its state is made of."""

    policy: Policy
    optimizer: torch.optim.AdamW
    progress: Progress
    best: Best
    metrics: Metrics
    rates: Rates | None
    average: Average | None

    @property
    def owners(self) -> dict[str, Stateful]:
        """By the names that they have in the state."""
        owners: dict[str, Stateful] = {
            "policy": self.policy,
            "optimizer": self.optimizer,
            "progress": self.progress,
            "best": self.best,
            "metrics": self.metrics,
        }
        some: dict[str, Stateful | None] = {"average": self.average, "rates": self.rates}
        return owners | {name: one for name, one in some.items() if one is not None}


def _make_parts(
    flags: TrainingFlags,
    policy: Policy,
    device: torch.device,
    contract: ContractFile,
    measuring: Measuring | None,
) -> _Parts:
    """As they are when a run begins; the processes that keep no contract write no files either."""
    written = contract.folder
    optimizer = _make_optimizer(flags, policy)
    return _Parts(
        policy,
        optimizer,
        Progress(device),
        Best(written and written / BEST, note=contract.add),
        Metrics(written and written / METRICS),
        None if measuring is None else Rates(measuring),
        None if flags.ema == "off" else Average(Computation(policy, device, flags), flags.ema),
    )


def _written(subject: Subject, manifest: Manifest, folder: Path | None) -> ContractFile:
    """The contract, on disk with the manifest that refers to it."""
    contract = ContractFile(folder, make_contract(subject, manifest.content, BEST))
    contract.write()
    contract.refer(manifest)
    manifest.write()
    return contract


def make_policy(flags: TrainingFlags, episodes: Episodes) -> tuple[Policy, str | None]:
    """The policy for these episodes, seeded, and the SHA-256 of its backbone's weights."""
    torch.manual_seed(flags.seed)
    info, cameras = episodes.infos[0], episodes.camera_names
    shapes = Shapes(
        qpos_dim=info.qpos_dim,
        action_dim=info.action_dim,
        num_cameras=len(cameras),
        image_size=episodes.image_size if cameras else None,
        env_state_dim=info.env_state_dim or 0,
    )
    policy = build_policy(flags, shapes)
    policy.recolours = _augmentation(flags, episodes).recolours
    weights, sha256 = read_backbone(flags.backbone)
    if weights is not None:
        try:
            policy.load_backbone(weights)
        except (KeyError, ValueError) as error:
            raise UsageError(
                f"--backbone_weights {flags.backbone_weights}: {error}", code="weights-mismatch"
            ) from error
    return policy, sha256


def make_sampler(flags: TrainingFlags, episodes: Episodes, policy: Policy, group: Group) -> Sampler:
    """Which samples this process computes."""
    return Sampler(
        episodes,
        flags.seed,
        chunk_size=policy.chunk_size,
        latent_dim=policy.latent_dim,
        batch_size=global_batch(flags, group),
        rank=group.rank,
        processes=group.size,
        accumulate=flags.accumulate,
        samples_per_episode=flags.samples_per_episode,
        augmentation=_augmentation(flags, episodes),
    )


def loader_threads() -> int:
    """Threads that make batches where `--num_workers` does not say."""
    return min(cores_each(), _MAX_LOADER_THREADS)


def _section(dataset: Dataset | None, data: TrainingData, group: Group) -> Dataset:
    """The manifest's dataset section, which the first process makes where nobody has."""
    if dataset is None and group.is_first:
        dataset = dataset_section(data.episodes)
    dataset = group.from_first(dataset)
    assert dataset is not None, "the first process has made it"
    return dataset


def _claimed(
    flags: TrainingFlags,
    data: TrainingData,
    folder: Path,
    manifest: Manifest,
    group: Group,
    dataset: Dataset,
) -> State | None:
    """Claim the folder for this run; returns the state that an earlier job of it left."""
    content = None
    if group.is_first:
        manifest.set("dataset", dataset)
        claim_folder(flags, folder, dataset)
        content = read_state(folder)
        save_stats(folder, data.stats)
    content = group.from_first(content)  # the others may have another disk
    return None if content is None else parse_state(content, folder)


def _fill_manifest(
    manifest: Manifest,
    flags: TrainingFlags,
    data: TrainingData,
    device: torch.device,
) -> None:
    episodes = data.episodes
    manifest.set("device", device_section(device))
    manifest.set("split", split_section(data, manifest.content.dataset))
    manifest.depart(*departures_of(bool(episodes.camera_names), bool(episodes.env_state)))
    manifest.resolve(
        device=device.type,
        num_workers=flags.num_workers or loader_threads(),
        camera_names=list(episodes.camera_names),
        backbone_weights=flags.backbone,
        **resolved_flags(flags, device),
        **_resolved_dims(episodes),
    )


def _resolved_dims(episodes: Episodes) -> dict[str, Any]:
    """What `--state_dim 0`, or episodes that were not converted, came to."""
    info = episodes.infos[0]
    same = info.qpos_dim == info.action_dim
    sims = {str(episodes.is_sim(number)).lower() for number in range(len(episodes.infos))}
    sim = sims.pop() if len(sims) == 1 else "auto"
    return {"state_dim": info.qpos_dim if same else 0, "sim": sim}


def _make_optimizer(flags: TrainingFlags, policy: Policy) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        policy.parameter_groups(flags.learning_rate, flags.lr_backbone),
        lr=flags.learning_rate,
        weight_decay=flags.weight_decay,
        fused=True,
    )


def _make_loader(
    flags: TrainingFlags,
    data: TrainingData,
    sampler: Sampler,
    progress: Progress,
    device: torch.device,
    cached: bool,
    decodes_jpegs: bool,
    kept: FrameCache | None,
) -> Loader:
    """The batches that are left of the run."""

    def todo() -> Iterator[tuple[Pass, list[int]]]:
        begun = progress.epoch, bool(progress.val), progress.epoch_samples
        for one in passes(flags.epochs, *begun):
            yield one, data.train_episodes if one.train else data.val_episodes

    return Loader(
        sampler,
        data.stats,
        todo(),
        threads=flags.num_workers or loader_threads(),
        device=device,
        cached=cached,
        decodes_jpegs=decodes_jpegs,
        kept=kept,
    )


def _make_trackers(
    flags: TrainingFlags, manifest: Manifest, progress: Progress, folder: Path | None
) -> Trackers:
    about = {name: getattr(manifest.content, name) for name in ("run_name", "task_name", "flags")}
    about["step"] = progress.step or None
    return Trackers(flags.tracker if folder else (), folder or Path(), about)


def _augmentation(flags: TrainingFlags, episodes: Episodes) -> Augmentation:
    if flags.camera_dropout and len(episodes.camera_names) == 1:
        raise UsageError(
            f"--camera_dropout {flags.camera_dropout} cannot apply: the episodes have one camera, "
            f"{episodes.camera_names[0]!r}, and one is never blanked; leave it out",
            code="flag-unused",
        )
    return Augmentation(
        brightness=flags.jitter_brightness,
        contrast=flags.jitter_contrast,
        saturation=flags.jitter_saturation,
        hue=flags.jitter_hue,
        shift=flags.random_shift,
        camera_dropout=flags.camera_dropout,
    )


def _is_cached(flags: TrainingFlags, episodes: Episodes, device: torch.device) -> bool:
    if flags.data_cache == "gpu" and device.type != "cuda":
        raise UsageError(
            f"--data_cache gpu cannot apply: training is on {device}, which needs no copy of the "
            f"frames; leave it out",
            code="flag-unused",
        )
    if flags.data_cache == "auto":
        return fits_device(episodes, device)
    return flags.data_cache == "gpu"
