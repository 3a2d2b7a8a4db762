"""The episodes of a run: the vectors in memory, the frames in their files.

T time steps   Q qpos dims   A action dims   E environment state dims
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from episodes.flags import NO_CAMERAS, EnvStateUse
from episodes.reader import EpisodeInfo, FloatArray, read_env_state, read_info, read_vectors
from job.errors import DatasetError
from job.machine import memory_bytes

_VECTOR_COPIES = 3


@dataclass(frozen=True)
class Episodes:
    """All episodes of a run: the vectors in memory, the frames in their files."""

    infos: tuple[EpisodeInfo, ...]
    qpos: tuple[FloatArray, ...]  # each (T, Q)
    action: tuple[FloatArray, ...]  # each (T, A)
    camera_names: tuple[str, ...]  # (): the policy sees no image
    env_state: tuple[FloatArray, ...] = ()  # each (T, E); (): there is none, or it is not used

    @property
    def image_size(self) -> tuple[int, int]:
        """H, W of every camera, of which there is one at least."""
        return self.infos[0].image_sizes[self.camera_names[0]]

    @property
    def lengths(self) -> list[int]:
        """Time steps of each episode."""
        return [info.length for info in self.infos]


def open_episodes(
    paths: Sequence[Path], camera_names: Sequence[str] = (), env_state: EnvStateUse = "no"
) -> Episodes:
    """Read what training needs of the episode files, all but the frames.

    camera_names: cameras to use, in order; () = all in the first file, NO_CAMERAS = none
    Raises DatasetError where files disagree, or a camera or environment state is not there.
    """
    infos = tuple(read_info(path, camera_names, env_state=env_state != "no") for path in paths)
    without = tuple(camera_names) == NO_CAMERAS
    names = () if without else tuple(camera_names) or tuple(infos[0].image_sizes)
    for info in infos:
        if not without:
            _check_cameras(info, infos[0], names)
        _check_vectors(info, infos[0], env_state)
    _check_room(infos)
    vectors = [read_vectors(path) for path in paths]
    has_env_state = infos[0].env_state_dim is not None
    return Episodes(
        infos,
        tuple(q for q, _ in vectors),
        tuple(a for _, a in vectors),
        names,
        tuple(read_env_state(path) for path in paths) if has_env_state else (),
    )


def _check_room(infos: Sequence[EpisodeInfo]) -> None:
    """Refuse vectors that do not fit the memory, before they take it.

    While they are normalised they are there three times: as read, joined, and in float32 arithmetic
    (`VectorStore`). A quarter is left for all else.
    """
    dims = infos[0].qpos_dim + infos[0].action_dim + (infos[0].env_state_dim or 0)
    needed = sum(4 * info.length * dims for info in infos)
    if _VECTOR_COPIES * needed > memory_bytes() * 3 // 4:
        raise DatasetError(
            f"{infos[0].path.parent}: qpos and action of {len(infos)} episodes take "
            f"{_VECTOR_COPIES * needed / 1e9:.0f} GB while they are normalised, found "
            f"{memory_bytes() / 1e9:.0f} GB of memory; give the container more, or use fewer "
            f"episodes",
            code="vectors-too-large",
        )


def _check_cameras(info: EpisodeInfo, first: EpisodeInfo, names: tuple[str, ...]) -> None:
    if not names:
        raise DatasetError(
            f"{info.path}: no camera under /observations/images, expected at least one; train "
            f"without images with --camera_names none, or record the episode with a camera",
            code="camera-none",
        )
    missing = [name for name in names if name not in info.image_sizes]
    if missing:
        raise DatasetError(
            f"{info.path}: camera {missing} is not in the file, which has "
            f"{list(info.image_sizes)}; choose among those with --camera_names",
            code="camera-unknown",
        )
    sizes = {name: info.image_sizes[name] for name in names}
    wanted = first.image_sizes[names[0]]
    if any(size != wanted for size in sizes.values()):
        raise DatasetError(
            f"{info.path}: images are {sizes}, expected {wanted} in every camera and episode, as "
            f"the network joins the cameras along the width; choose cameras with --camera_names",
            code="camera-sizes",
        )


def _check_vectors(info: EpisodeInfo, first: EpisodeInfo, env_state: EnvStateUse) -> None:
    if env_state == "yes" and info.env_state_dim is None:
        raise DatasetError(
            f"{info.path}: no environment state under /observations/env_state, which "
            f"--env_state_key asks for; leave that flag out, or write it there, (T, dims)",
            code="env-state-missing",
        )
    if info.env_state_dim != first.env_state_dim:
        raise DatasetError(
            f"{info.path}: the environment state has {info.env_state_dim or 'no'} dims, expected "
            f"{first.env_state_dim or 'none'} as in {first.path.name}; do not mix recordings, or "
            f"leave it out with --env_state_key none",
            code="episodes-differ",
        )
    found = (info.qpos_dim, info.action_dim)
    if found != (first.qpos_dim, first.action_dim):
        raise DatasetError(
            f"{info.path}: qpos and action have {found} dims, expected "
            f"{(first.qpos_dim, first.action_dim)} as in {first.path.name}; do not mix robots",
            code="episodes-differ",
        )
