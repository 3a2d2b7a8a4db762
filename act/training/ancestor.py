"""Weights of an earlier training, from which a new one starts: ours, upstream's or LeRobot's.

What is taken over must mean the same: the same dims, by name where names are known, and the same
cameras in the same order. What may differ is said with --init_allow; the layers that depend on it
start at random.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from act.export.lerobot_import import read_lerobot
from act.export.lerobot_layout import CONFIG as LEROBOT_CONFIG
from act.export.lerobot_layout import MODEL as LEROBOT
from act.load.source import find_source, run_path
from act.policies.contract_file import read_contract
from act.policies.flags import InitFlags
from act.policies.policy import Policy
from act.policies.statistics import load_stats
from act.policies.upstream_contract import BEST, STATS
from act.policies.weights import Weights, load_weights
from episodes.arrays import FloatArray
from episodes.episode_set import Episodes
from job.errors import UsageError
from job.output_names import CONTRACT
from job.remote.address import Address, is_address, read_place
from job.remote.cache import Cache
from job.remote.download import Download
from job.remote.store import Store, Stored
from job.sections.contract import Contract
from job.sections.training import Ancestor
from job.warning import warn
from job.whole_files import sha256

logger = logging.getLogger("act")

_FAR_STD = 3.0  # of the earlier data's standard deviations, from where its mean is warned of

Names = tuple[str | None, ...]

# The layers that depend on each thing that may differ, by the start of their names.
_LAYERS = {
    "state_dim": ("model.input_proj_robot_state.", "model.encoder_joint_proj."),
    "action_dim": ("model.action_head.", "model.encoder_action_proj."),
    "chunk_size": ("model.query_embed.", "model.pos_table"),
    "cameras": (),
}
_VECTORS = {"qpos": "state_dim", "action": "action_dim"}


@dataclass(frozen=True)
class Start:
    """What a training starts from, as it was read."""

    path: Path
    sha256: str
    weights: Weights
    stats: Mapping[str, FloatArray]
    names: Mapping[str, Names]  # of the dims of qpos and action; empty where they are not known
    cameras: tuple[str, ...] | None  # None where they are not known


def read_start(flags: InitFlags, output: Path) -> Start:
    """What `--init_weights` names: a run's name, a folder, or a checkpoint; raises UsageError.

    output: where runs are looked for by name
    """
    named = flags.init_weights
    if is_address(named):
        named = _fetched(flags)
    try:
        path = run_path(named, output)
    except UsageError as error:
        raise UsageError(f"--init_weights {named}: {error}", code=error.code) from None
    folder = path if path.is_dir() else path.parent
    if (folder / LEROBOT).exists() and path.is_dir():
        imported = read_lerobot(folder)
        digest = sha256(folder / LEROBOT)
        return _of_contract(folder / LEROBOT, digest, imported.weights, imported.contract)
    if (folder / CONTRACT).exists():
        source = find_source(named, output=output)
        weights = load_weights(source.checkpoint)
        return _of_contract(source.checkpoint, source.sha256, weights, source.contract)
    file = folder / BEST if path.is_dir() else path
    for needed in (file, folder / STATS):
        if not needed.is_file():
            raise UsageError(
                f"--init_weights {flags.init_weights}: {needed} is not there, expected a run's "
                f"folder, upstream's with {BEST} and {STATS}, or LeRobot's pretrained_model",
                code="checkpoint-missing",
            )
    return Start(file, sha256(file), load_weights(file), load_stats(folder / STATS), {}, None)


def _fetched(flags: InitFlags) -> str:
    """Where what `--init_weights` names lies on this machine, once it is fetched."""
    place = read_place(flags.init_weights)
    assert isinstance(place, Address)
    file = place.name if place.name.endswith(".ckpt") else ""
    folder = Address(place.scheme, place.path.rpartition("/")[0]) if file else place
    cache = Cache(flags.cache.expanduser(), flags.cache_gb)
    with cache.turn(folder):
        store = Store(folder).pinned()
        listed = store.files()
        if not listed:
            raise UsageError(
                f"--init_weights {place}: nothing is there, expected the folder of a policy; look "
                f"at the address",
                code="policy-missing",
            )
        here = cache.hold(store.address)
        download = Download(store, here)
        _fetch(cache, download, listed, {CONTRACT, STATS, LEROBOT_CONFIG})
        _fetch(cache, download, listed, _weights_in(here, listed, file))
    return str(here / file)


def _weights_in(here: Path, listed: Iterable[str], file: str) -> set[str]:
    """What is needed besides the small files, which say that.

    file: the checkpoint that was named; empty: the folder was
    """
    if (here / LEROBOT_CONFIG).exists():
        return {LEROBOT, *(name for name in listed if "processor" in name)}
    if not file and (here / CONTRACT).exists():
        file = read_contract(here, "look at the address").file
    return {file or BEST}


def _fetch(
    cache: Cache, download: Download, listed: Mapping[str, Stored], names: Collection[str]
) -> None:
    wanted = {name: one for name, one in listed.items() if name in names}
    cache.make_room(download.needed_bytes(wanted))
    download.fetch(wanted, "fetch weights")


def _of_contract(path: Path, digest: str, weights: Weights, contract: Contract) -> Start:
    stats = {
        name: np.array(values, np.float32)
        for name, values in contract.statistics.model_dump().items()
        if values is not None
    }
    vectors = {"qpos": contract.state, "action": contract.action}
    names = {name: tuple(dim.name for dim in one.dims) for name, one in vectors.items()}
    cameras = tuple(camera.name for camera in contract.cameras)
    return Start(path, digest, weights, stats, names, cameras)


def starting_stats(
    start: Start, flags: InitFlags, own: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """The statistics to normalise by: the earlier training's, but for vectors that are new.

    own: those of the data
    Warns of data that lie far from what the weights were trained on.
    """
    if flags.init_stats == "new":
        return dict(own)
    found = dict(own)
    for name in ("qpos", "action", "env_state"):
        mean, std = f"{name}_mean", f"{name}_std"
        if _VECTORS.get(name) in flags.init_allow or mean not in own or mean not in start.stats:
            continue
        if start.stats[mean].shape != own[mean].shape:
            continue  # which `take_over` refuses
        _warn_of_far(name, start, own)
        found |= {key: start.stats[key].astype(np.float32) for key in (mean, std)}
    return found


def _warn_of_far(name: str, start: Start, own: Mapping[str, FloatArray]) -> None:
    mean, std = start.stats[f"{name}_mean"], start.stats[f"{name}_std"]
    away = np.abs(own[f"{name}_mean"] - mean) / std
    far = [int(dim) for dim in np.flatnonzero(away > _FAR_STD)]
    if far:
        names = start.names.get(name, ())
        shown = ", ".join(
            f"{names[dim] if dim < len(names) and names[dim] else dim} by {away[dim]:.1f}"
            for dim in far
        )
        warn(
            "init-far",
            f"--init_stats keep: the mean of {name} is away from that of {start.path} by more than "
            f"{_FAR_STD:g} of its standard deviations in {shown}; for another robot take "
            f"--init_stats new",
        )


def take_over(start: Start, flags: InitFlags, policy: Policy, episodes: Episodes) -> Ancestor:
    """Load the weights into the policy; raises UsageError for what differs and is not allowed."""
    _refuse_other_names(start, flags, episodes)
    own = policy.state_dict()
    new = _new_layers(start, flags, own)
    unknown = sorted(start.weights.keys() - own.keys())
    missing = sorted(own.keys() - start.weights.keys())
    if unknown or missing:
        what = f"has {unknown[0]}, which" if unknown else f"lacks {missing[0]}, which"
        raise _mismatch(start, f"{what} the network of these flags has{' not' * bool(unknown)}", "")
    taken = {name: start.weights[name] for name in own if name not in new}
    policy.load_state_dict({**own, **taken})
    layers = sorted({name.rpartition(".")[0] or name for name in new})
    logger.info(
        "start      the weights of %s%s",
        start.path,
        f", but for new {', '.join(layers)}" if layers else "",
    )
    kept: Literal["keep", "new"] = "new" if flags.init_stats == "new" else "keep"
    return Ancestor(path=str(start.path), sha256=start.sha256, statistics=kept, new_layers=layers)


def _refuse_other_names(start: Start, flags: InitFlags, episodes: Episodes) -> None:
    info = episodes.infos[0]
    for vector, names in (("qpos", info.qpos_names), ("action", info.action_names)):
        before, allowed = start.names.get(vector, ()), _VECTORS[vector]
        pairs = zip(before, names or (), strict=False)
        differing = [f"{a} is now {b}" for a, b in pairs if a is not None and a != b]
        if differing and allowed not in flags.init_allow:
            raise _mismatch(start, f"in {vector} {differing[0]}", allowed)
    if start.cameras not in (None, episodes.camera_names) and "cameras" not in flags.init_allow:
        seen = ", ".join(start.cameras or ()) or "no camera"
        here = ", ".join(episodes.camera_names) or "no camera"
        raise _mismatch(start, f"it sees {seen}, and here there is {here}", "cameras")


def _new_layers(start: Start, flags: InitFlags, own: Mapping[str, Tensor]) -> set[str]:
    """The parameters that start at random; raises UsageError for what is not allowed to differ.

    Where dims may differ their layers are new also if as many are left: they mean something else.
    """
    new, refused = set(), []
    for name, tensor in own.items():
        reason = next((one for one, starts in _LAYERS.items() if name.startswith(starts)), "")
        before = start.weights.get(name, tensor)
        is_other = before.shape != tensor.shape
        if is_other and reason not in flags.init_allow:
            shapes = f"{tuple(before.shape)}, here {tuple(tensor.shape)}"
            refused.append((reason, f"{name} is {shapes}"))
        elif is_other or (reason in flags.init_allow and reason in _VECTORS.values()):
            new.add(name)
    if refused:  # first what no flag allows: another width changes every layer
        reason, what = min(refused)
        raise _mismatch(start, what, reason)
    return new


def _mismatch(start: Start, what: str, reason: str) -> UsageError:
    if reason:
        remedy = f"--init_allow {reason} makes the layers that depend on it anew"
        remedy = "--init_allow cameras takes them all the same" if reason == "cameras" else remedy
    else:
        remedy = "give the flags of the network that the weights are of"
    return UsageError(
        f"--init_weights {start.path}: {what}, expected the same; {remedy}",
        code="weights-mismatch",
    )
