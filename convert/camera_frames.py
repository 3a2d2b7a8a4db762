"""The frames of an episode's cameras, wherever they lie, in the size that is wanted."""

from collections.abc import Iterator
from pathlib import Path

from convert.cameras import Camera, FrameOptions
from convert.findings import refuse
from convert.lerobot.image import ImageReader
from convert.lerobot.table import Times
from convert.pictures import Ordinals, VideoFile, choose_pictures
from convert.sources import Source
from episodes.arrays import Frame
from episodes.filmed import Filmed
from episodes.input_file import OnRead, ignore
from episodes.resize import Size, resize_area
from episodes.video.display import Display
from episodes.video.reader import VideoReader

PLAIN = FrameOptions()


class CameraReaders:
    """One open file per camera; it stays open while episodes follow each other in it."""

    def __init__(self, on_read: OnRead = ignore, options: FrameOptions = PLAIN) -> None:
        self.on_read = on_read
        self._options = options
        self._open: dict[str, VideoReader | ImageReader] = {}
        self._files: dict[str, VideoFile] = {}

    def frames(self, source: Source, camera: Camera, times: Times | None) -> Iterator[Frame]:
        """Every frame of a camera in an episode, each (H, W, 3) uint8 as the plan has it.

        times: the rows' timestamps, (T,) in seconds
        """
        size = camera.recorded
        for ts, frame in enumerate(_recorded_frames(source, camera, times, self)):
            if frame.shape[:2] != size:
                size = frame.shape[0], frame.shape[1]
                path = file_of(source, camera.key)
                camera.reduction.check(size, path, f"frame {ts} of {source}")
            yield resize_area(frame, camera.height, camera.width)

    def filmed(self, source: Source, camera: Camera, times: Times | None, sha256: str) -> Filmed:
        """Where the frames of a camera in an episode lie in its video.

        times: as of `frames`; sha256: of samples of the video
        """
        return Filmed(
            path=source.episode.videos[camera.key].path.absolute(),
            sha256=sha256,
            fps=source.dataset.fps,
            ordinals=self.ordinals(source, camera, times),
            reduction=camera.reduction,
            rotated=self._options.rotated,
            grey=camera.key in self._options.grey,
        )

    def ordinals(self, source: Source, camera: Camera, times: Times | None) -> Ordinals:
        """Which pictures of its video are those of an episode's rows; raises DatasetError."""
        file = self.video_file(source, camera.key)
        ordinals = choose_pictures(file, source.episode, camera.key, times, refuse)
        assert ordinals is not None, "what is wrong was refused"
        return ordinals

    def video(self, source: Source, key: str) -> VideoReader:
        """The video reader of a camera, at the episode's file."""
        dataset, path = source.dataset, source.episode.videos[key].path
        reader = self._open.get(key)
        if not isinstance(reader, VideoReader) or reader.path != path:
            self._close(key)
            rotated, grey = self._options.rotated, key in self._options.grey
            reader = VideoReader(path, dataset.fps, self.on_read, rotated=rotated, grey=grey)
            self._open[key] = reader
        return reader

    def video_file(self, source: Source, key: str) -> VideoFile:
        """What is known of the video of a camera, at the episode's file."""
        index, file = self.video(source, key).index, self._files.get(key)
        if file is None or file.index is not index:  # once for the episodes in it
            file = self._files[key] = VideoFile.of(source.dataset, index)
        return file

    def images(self, source: Source, key: str) -> ImageReader:
        """The image reader of a camera, at the episode's table."""
        path, reader = source.episode.table_path, self._open.get(key)
        if not isinstance(reader, ImageReader) or reader.path != path:
            self._close(key)
            reader = ImageReader(path, key, self.on_read)
            self._open[key] = reader
        return reader

    def _close(self, key: str) -> None:
        if key in self._open:
            self._open.pop(key).close()

    def close(self) -> None:
        """Close every file."""
        for key in list(self._open):
            self._close(key)


def file_of(source: Source, key: str) -> Path:
    """The file that holds a camera's frames of an episode."""
    span = source.episode.videos.get(key)
    return source.episode.table_path if span is None else span.path


def first_frame(
    source: Source, key: str, on_read: OnRead, options: FrameOptions
) -> tuple[Size, Display | None]:
    """H, W as decoded, as info.json can be stale; and how players show the video."""
    readers = CameraReaders(on_read, options)
    try:
        frame = next(iter(_first_frame(source, key, readers)))
        span = source.episode.videos.get(key)
        display = None if span is None else readers.video(source, key).display
    finally:
        readers.close()
    return (frame.shape[0], frame.shape[1]), display


def _first_frame(source: Source, key: str, readers: CameraReaders) -> Iterator[Frame]:
    span = source.episode.videos.get(key)
    if span is None:
        return readers.images(source, key).frames(source.episode.index, 1)
    video = readers.video(source, key)
    return video.frames(video.index.ordinals[:1])


def _recorded_frames(
    source: Source, camera: Camera, times: Times | None, readers: CameraReaders
) -> Iterator[Frame]:
    episode = source.episode
    if camera.key not in episode.videos:
        yield from readers.images(source, camera.key).frames(episode.index, episode.length)
        return
    ordinals = readers.ordinals(source, camera, times)
    yield from readers.video(source, camera.key).frames(ordinals)
