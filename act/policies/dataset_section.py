"""The manifest's `dataset` section of episode files that no conversion of this job wrote."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from episodes.episode_set import Episodes, open_episodes
from episodes.flags import EpisodeFlags
from job.sections.data import Dataset, UsedEpisode
from job.whole_files import sampled_sha256


def dataset_section_of_files(flags: EpisodeFlags, paths: Sequence[Path]) -> Dataset:
    """`dataset_section` of episode files by their paths."""
    return dataset_section(open_episodes(paths, flags.camera_names, flags.reading))


def dataset_section(episodes: Episodes) -> Dataset:
    """The `dataset` section for episode files that were not converted here."""
    # all of the vectors, which are in memory, and samples of the frames, which would take hours
    digests = [sampled_sha256(info.path) for info in episodes.infos]
    for vectors in (*episodes.qpos, *episodes.action, *episodes.env_state):
        digests.append(hashlib.sha256(vectors.tobytes()).hexdigest())
    if any(info.sim != episodes.is_sim(number) for number, info in enumerate(episodes.infos)):
        digests.append(f"sim {episodes.reading.sim}")  # which flags alone do not tell: auto is both
    return Dataset(
        format="aloha_hdf5",
        version=None,
        path=", ".join(dict.fromkeys(str(info.path.parent) for info in episodes.infos)),
        fps=episodes.infos[0].fps,
        robot_type=None,
        tasks=[],
        episodes=[
            UsedEpisode(
                number=number,
                source=info.path.name,
                dataset=str(info.path.parent),
                length=info.length,
            )
            for number, info in enumerate(episodes.infos)
        ],
        left_out=[],
        frames=sum(episodes.lengths),
        fingerprint=hashlib.sha256("".join(digests).encode()).hexdigest(),
    )
