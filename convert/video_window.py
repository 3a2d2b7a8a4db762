"""The window of a video file that v3 metadata give an episode, against the rows of its table."""

from convert.findings import Add, error, warning
from convert.lerobot.episode_list import Episode


def check_window(episode: Episode, camera: str, add: Add) -> None:
    """Add an error for a window that is too short, a warning for one that is too long.

    A window of v2.x is its whole file and says nothing.
    """
    span, rows = episode.videos[camera], episode.length
    if span.window is None or span.window == rows:
        return
    counts = f"its window has {span.window} frames, the table has {rows} rows"
    if span.window < rows:
        what = (
            f"{counts}, expected as many; frames were dropped while recording, and which ones "
            f"cannot be known; leave the episode out or record it again"
        )
        add(error("video-window-short", span.path, what, episode=episode.index, camera=camera))
        return
    what = f"{counts}; the first {rows} are the recorded take, the rest is left out"
    add(warning("video-window-long", span.path, what, episode=episode.index, camera=camera))
