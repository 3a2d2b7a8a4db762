"""A LeRobot dataset of any number of episodes."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.broken import FRONT, WRIST, edit_info
from tests.support.paths import SMALL


def write_many(root: Path, count: int) -> None:
    """The four episodes of v21_h264 again and again, the videos as links."""
    source = SMALL / "v21_h264"
    rows = [json.loads(x) for x in (source / "meta/episodes.jsonl").read_text().splitlines()]
    tables = [pq.read_table(path) for path in sorted((source / "data").rglob("*.parquet"))]
    place = tables[0].column_names.index("episode_index")
    for folder in (
        "meta",
        "data/chunk-000",
        *(f"videos/chunk-000/{key}" for key in (FRONT, WRIST)),
    ):
        (root / folder).mkdir(parents=True)
    shutil.copy(source / "meta/info.json", root / "meta")
    frames = 0
    with (root / "meta/episodes.jsonl").open("w") as file:
        for index in range(count):
            row, table = rows[index % 4], tables[index % 4]
            file.write(json.dumps(row | {"episode_index": index}) + "\n")
            frames += row["length"]
            column = pa.array([index] * len(table))
            table = table.set_column(place, "episode_index", column)
            pq.write_table(table, root / f"data/chunk-000/episode_{index:06d}.parquet")
            for key in (FRONT, WRIST):
                video = f"videos/chunk-000/{key}/episode_"
                link = root / f"{video}{index:06d}.mp4"
                link.symlink_to(source / f"{video}{index % 4:06d}.mp4")
    edit_info(root, total_episodes=count, total_frames=frames, chunks_size=count)
