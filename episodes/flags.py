"""The flags that mean something for a dataset and for a folder of episode files."""

from dataclasses import dataclass
from pathlib import Path

from job.bounds import at_least, link_names
from job.flags import Flags, flag


@dataclass(frozen=True, kw_only=True)
class EpisodeFlags(Flags):
    """Which episodes are read, and what is taken of them."""

    title = "data"

    input: tuple[Path, ...] = flag(
        "Folder of a LeRobot dataset, or of episode_*.hdf5 files; may be repeated.",
        (Path("/data/input"),),
        same_run=True,
    )
    camera_names: tuple[str, ...] = flag(
        "Names of the cameras in the files and for the policy, in order.", (), check=link_names
    )
    max_episodes: int = flag(
        "Only the first N of the episodes are used; 0 = all.", 0, check=at_least(0)
    )
    state_dim: int = flag(
        "Size to which qpos and action are padded or cut; 0 = the dataset's own.",
        16,
        check=at_least(0),
    )


@dataclass(frozen=True, kw_only=True)
class ChunkFlags(Flags):
    """How many actions follow each observation."""

    title = "network"

    chunk_size: int = flag(
        "Number of actions that the policy predicts at once.",
        100,
        check=at_least(1),
    )
