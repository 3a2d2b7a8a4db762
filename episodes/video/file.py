"""A video file as it is opened: as what it is, the one stream of it, within the memory there is."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from job.errors import DatasetError
from job.machine import memory_bytes

# What a decoder takes for each pixel: 16 reference pictures of 1.5 bytes, RGB, and a copy of it.
_PIXEL_BYTES = 32
_LARGEST_SHARE = 8  # of the memory, for one video
_LARGEST_PIXELS = 1 << 26

_ONLY_A_FILE = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm",
}


def open_video(path: Path) -> InputContainer:
    """Open a video file as what it is: never a playlist that names other files or addresses."""
    return av.open(str(path), options=_ONLY_A_FILE)


def open_decoder(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a video file and the track that is taken of it, within the memory there is.

    One thread decodes: the work is spread over processes (job/workers.py). Raises DatasetError.
    """
    with video_errors(path, "its header", "video-unreadable"):
        container = open_video(path)
    try:
        stream = choose_stream(path, container)
        if stream.codec_context is None:
            raise _no_decoder(path, "an unknown codec")
        _limit_pixels(path, stream)
        stream.codec_context.thread_count = 1
    except DatasetError:
        container.close()
        raise
    return container, stream


def video_streams(container: InputContainer) -> list[VideoStream]:
    """The tracks with frames over time: no attached picture, which is a cover or a thumbnail."""
    picture = Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & picture]


def choose_stream(path: Path, container: InputContainer) -> VideoStream:
    """The default track, else the largest; raises DatasetError when there is none."""
    streams = video_streams(container)
    if not streams:
        raise DatasetError(
            f"{path}: no video stream; expected one; copy it again", code="video-none", where=path
        )
    default = [stream for stream in streams if stream.disposition & Disposition.default]
    return max(default or streams, key=_pixels)


def _pixels(stream: VideoStream) -> int:
    context = stream.codec_context  # None without a decoder
    return context.width * context.height if context is not None else 0


def refuse_depth(path: Path, pixel_format: str, grey: bool) -> None:
    """Refuse a stream of one channel, which would decode as plausible pictures all the same.

    grey: the camera was named on purpose, so that 8 bits of grey are what is wanted
    """
    if not pixel_format.startswith("gray") or (grey and pixel_format == "gray"):
        return
    mend = "leave it out with --camera_keys"
    if pixel_format == "gray":
        mend += ", or name it there to use its grey as colour"
    raise DatasetError(
        f"{path}: is {pixel_format}, a depth or grey stream, expected colour; {mend}",
        code="video-depth",
        where=path,
    )


def _limit_pixels(path: Path, stream: VideoStream) -> None:
    """Refuse frames that claim more than the memory bears, and have the decoder do so later on."""
    most = min(_LARGEST_PIXELS, memory_bytes() // _LARGEST_SHARE // _PIXEL_BYTES)
    context = stream.codec_context
    if context.width * context.height > most:
        raise DatasetError(
            f"{path}: its frames are {context.height}x{context.width}, expected at most {most} "
            f"pixels, which is what the memory bears; record or encode it smaller",
            code="video-too-large",
            where=path,
        )
    context.options = {"max_pixels": str(most)}


def _no_decoder(path: Path, codec: str) -> DatasetError:
    return DatasetError(
        f"{path}: PyAV {av.__version__} here has no decoder for {codec}, expected those for AV1, "
        f"H.264 and HEVC that its wheels have; re-encode the video, or install such a PyAV",
        code="codec-missing",
        where=path,
    )


def out_of_order(path: Path) -> DatasetError:
    """The error of frames that a decoder gives in another order than that of their times."""
    return DatasetError(
        f"{path}: its frames are not shown in the order of their timestamps, as those of a stream "
        f"with B-frames that was copied without its times, expected each later than the one "
        f"before; re-encode it, each frame as it is decoded with the next time, or leave its "
        f"episodes out",
        code="video-order",
        where=path,
    )


@contextlib.contextmanager
def video_errors(path: Path, reached: str, code: str = "video-decode") -> Iterator[None]:
    """Translate PyAV's errors, at the one border where it is used."""
    try:
        yield
    except NotImplementedError as error:  # the native av1 decoder only drives hardware
        raise _no_decoder(path, f"its codec ({error})") from error
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise DatasetError(
            f"{path}: cannot be decoded at {reached} ({error}); expected a whole AV1, H.264 or "
            f"HEVC video; copy or record it again",
            code=code,
            where=path,
        ) from error
