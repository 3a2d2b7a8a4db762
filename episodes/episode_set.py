"""The episodes of a run: the vectors in memory, the frames in their files.

T time steps   Q qpos dims   A action dims   E environment state dims
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from episodes.arrays import FloatArray
from episodes.reader import EpisodeInfo, read_env_state, read_info, read_vectors
from episodes.reading import AS_STORED, NO_CAMERAS, EnvStateUse, Reading
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
    reading: Reading = AS_STORED
    env_state: tuple[FloatArray, ...] = ()  # each (T, E); (): there is none, or it is not used

    @property
    def image_size(self) -> tuple[int, int]:
        """H, W of every camera's frames as they are given: reduced, where that is asked for.

        There is one camera at least.
        """
        return self.reading.image_size or self.infos[0].image_sizes[self.camera_names[0]]

    def is_sim(self, episode: int) -> bool:
        """Whether the action that answers an observation is stored with it, not one step late."""
        return self.infos[episode].sim if self.reading.sim is None else self.reading.sim

    @property
    def lengths(self) -> list[int]:
        """Time steps of each episode."""
        return [info.length for info in self.infos]


def open_episodes(
    paths: Sequence[Path], camera_names: Sequence[str] = (), reading: Reading = AS_STORED
) -> Episodes:
    """Read what training needs of the episode files, all but the frames.

    camera_names: cameras to use, in order; () = all in the first file but depth streams,
        NO_CAMERAS = none
    Raises DatasetError where files disagree, or a camera or environment state is not there.
    """
    infos, names = read_infos(paths, camera_names, reading)
    check_room(infos)
    vectors = [read_vectors(path, reading.base_action) for path in paths]
    has_env_state = infos[0].env_state_dim is not None
    return Episodes(
        infos,
        tuple(q for q, _ in vectors),
        tuple(a for _, a in vectors),
        names,
        reading,
        tuple(read_env_state(path) for path in paths) if has_env_state else (),
    )


def read_infos(
    paths: Sequence[Path], camera_names: Sequence[str], reading: Reading
) -> tuple[tuple[EpisodeInfo, ...], tuple[str, ...]]:
    """What the files say of themselves, and the cameras that are used; raises as `open_episodes`.

    camera_names: as of `open_episodes`
    """
    first = look_at(paths[0], camera_names, reading)
    names = tuple(camera_names) or tuple(first.image_sizes)
    infos = (first, *(look_at(path, names, reading) for path in paths[1:]))
    for info in infos:
        check_like_first(info, first, names, reading)
    return infos, without_none(names)


def look_at(path: Path, camera_names: Sequence[str], reading: Reading) -> EpisodeInfo:
    """What a file says of itself, as far as it is read."""
    return read_info(path, camera_names, reading.base_action, reading.env_state != "no")


def without_none(names: Sequence[str]) -> tuple[str, ...]:
    """The cameras that are used: none for NO_CAMERAS."""
    return () if tuple(names) == NO_CAMERAS else tuple(names)


def check_room(infos: Sequence[EpisodeInfo]) -> None:
    """Refuse vectors that do not fit the memory, before they take it.

    While they are normalised they are there three times: as read, joined, and in float32 arithmetic
    (`VectorStore`). A quarter is left for all else.
    """
    needed = sum(
        4 * info.length * (info.qpos_dim + info.action_dim + (info.env_state_dim or 0))
        for info in infos
    )
    if _VECTOR_COPIES * needed > memory_bytes() * 3 // 4:
        raise DatasetError(
            f"{infos[0].path.parent}: qpos and action of {len(infos)} episodes take "
            f"{_VECTOR_COPIES * needed / 1e9:.0f} GB while they are normalised, found "
            f"{memory_bytes() / 1e9:.0f} GB of memory; give the container more, or use fewer "
            f"episodes",
            code="vectors-too-large",
        )


def check_like_first(
    info: EpisodeInfo, first: EpisodeInfo, names: Sequence[str], reading: Reading = AS_STORED
) -> None:
    """Refuse a file that cannot be trained on together with the first one.

    names: the cameras that are used, or NO_CAMERAS
    """
    if tuple(names) != NO_CAMERAS:
        _check_cameras(info, first, names, reading)
    _check_env_state(info, first, reading.env_state)
    _check_same_robot(info, first)


def _check_cameras(
    info: EpisodeInfo, first: EpisodeInfo, names: Sequence[str], reading: Reading
) -> None:
    if not names:
        could = [name for name, can_be_chosen in info.depth.items() if can_be_chosen]
        named = f"use them as cameras with --camera_names {','.join(could)}, " if could else ""
        raise DatasetError(
            f"{info.path}: no camera under /observations/images, found {list(info.cameras)} with "
            f"depth streams, expected at least one of colour; {named}train without images with "
            f"--camera_names none, or record the episode with a camera",
            code="camera-none",
        )
    missing = [name for name in names if name not in info.image_sizes]
    if missing:
        raise DatasetError(
            f"{info.path}: camera {missing} is not in the file, which has "
            f"{list(info.cameras)}; choose among those with --camera_names",
            code="camera-unknown",
        )
    sizes = {name: info.image_sizes[name] for name in names}
    wanted = first.image_sizes[names[0]]
    if reading.image_size is None and any(size != wanted for size in sizes.values()):
        raise DatasetError(
            f"{info.path}: images are {sizes}, expected {wanted} in every camera and episode, as "
            f"the network joins the cameras along the width; choose cameras with --camera_names, "
            f"or bring all to one size with --image_size",
            code="camera-sizes",
        )


def _check_env_state(info: EpisodeInfo, first: EpisodeInfo, use: EnvStateUse) -> None:
    if use == "yes" and info.env_state_dim is None:
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


def _check_same_robot(info: EpisodeInfo, first: EpisodeInfo) -> None:
    """The same dims and names, and the same rate, as far as the files tell."""
    same_folder = info.path.parent == first.path.parent
    for what, found, expected in (
        ("dims of qpos and action", *((i.qpos_dim, i.action_dim) for i in (info, first))),
        ("names of qpos", info.qpos_names, first.qpos_names),
        ("names of action", info.action_names, first.action_names),
        ("fps", info.fps, first.fps),
    ):
        if found != expected and found is not None and expected is not None:
            raise DatasetError(
                f"{info.path}: {what} are {found}, expected {expected} as in "
                f"{first.path.name if same_folder else first.path}; do not mix robots",
                code="episodes-differ",
            )
