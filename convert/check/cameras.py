"""What a check reports of a dataset's cameras: their files, formats and sizes.

Each video file is opened once, by `convert/check/probe.py`; threads do it, as FFmpeg works without
Python's lock.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial

from convert.cameras import check_reduction, check_sizes, orientation
from convert.check.camera_file import CameraFile, camera_files
from convert.check.probe import Probe, probe
from convert.check.spans import check_spans
from convert.findings import Report, warning
from convert.flags import DataFlags
from convert.lerobot.dataset import Dataset
from convert.lerobot.image import ImageReader
from convert.lerobot.table import Times
from episodes.input_file import OnRead
from episodes.resize import Size, by
from episodes.video.display import Display
from episodes.video.file import refuse_depth
from job import signals
from job.errors import DatasetError

_BT601 = (5, 6)  # AVCOL_SPC_BT470BG, AVCOL_SPC_SMPTE170M: what untagged video is taken for
_BITS = 8


def check_cameras(
    dataset: Dataset,
    keys: Sequence[str],
    flags: DataFlags,
    times: Mapping[int, Times | None],
    report: Report,
    pool: Executor,
    on_read: OnRead,
) -> dict[str, Size]:
    """Check every file of the cameras `keys`; gives the size that each camera has in most files.

    times: the timestamps of the rows by episode, as far as they could be read
    """
    sizes: dict[str, list[tuple[CameraFile, Size]]] = {key: [] for key in keys}
    videos = camera_files(dataset, keys, "video")
    probes = []
    probed = pool.map(partial(_probe, dataset, report, on_read), videos)
    for file, seen in zip(videos, probed, strict=True):
        if seen is not None:
            _check_probe(file, seen, flags, report)
            check_spans(dataset, file, seen.index, times, report)
            probes.append((file, seen))
            sizes[file.key].append((file, seen.size(flags.apply_rotation)))
    _check_codecs(probes, report)
    _check_one_display(probes, flags.apply_rotation, report)
    images = camera_files(dataset, keys, "image")
    first_sizes = pool.map(partial(_first_image, report, on_read), images)
    for file, size in zip(images, first_sizes, strict=True):
        if size is not None:
            sizes[file.key].append((file, size))
    return _check_sizes(dataset, sizes, flags.image_height_width, report)


def _probe(dataset: Dataset, report: Report, on_read: OnRead, file: CameraFile) -> Probe | None:
    signals.check()
    try:
        starts_s = [span.from_s for _, span in file.uses]
        return probe(file.path, dataset.fps, on_read, starts_s)
    except DatasetError as problem:
        report.add(file.finding_of(problem, file.episode))
        return None


def _check_probe(file: CameraFile, seen: Probe, flags: DataFlags, report: Report) -> None:
    try:
        refuse_depth(file.path, seen.pixel_format, file.key in flags.camera_keys)
    except DatasetError as problem:
        report.add(file.finding_of(problem, file.episode))
    if seen.bits > _BITS:
        what = f"has {seen.bits} bits per channel, expected {_BITS}; re-encode it if colours matter"
        report.add(file.warning("video-bits", what))
    if seen.index.start_s:
        what = f"starts at {float(seen.index.start_s):.3f} s instead of 0"
        report.add(file.warning("video-start", what))
    if seen.display is not None:
        _check_display(file, seen.display, flags.apply_rotation, report)
    if seen.tracks > 1:
        what = (
            f"has {seen.tracks} video tracks; the default one, else the largest, is taken: "
            f"{seen.height}x{seen.width}"
        )
        report.add(file.warning("video-tracks", what))
    if seen.is_tagged and seen.colorspace not in _BT601:
        what = (
            f"has tagged colours (matrix {seen.colorspace}) and is converted by its tag, which "
            f"PyAV before 17, as in lerobot, does not do: up to 32 levels apart"
        )
        report.add(file.warning("colour-tags", what))
    if seen.is_blank:
        report.add(file.warning("video-blank", "its first frame is of one colour; look at it"))


def _check_display(file: CameraFile, display: Display, rotated: bool, report: Report) -> None:
    """Name what a display matrix does, which players do and decoders do not.

    rotated: --apply_rotation
    """
    if rotated:
        try:
            display.refuse_slanted(file.path)
        except DatasetError as problem:
            report.add(file.finding_of(problem, file.episode))
            return
        what = "so are those of the episode files, and so the robot must give them"
    else:
        what = (
            "they are taken as they are stored, and so the robot must give them; --apply_rotation "
            "takes them as they are shown"
        )
    what = f"players show its frames {display.turn}, by its display matrix; {what}"
    report.add(file.warning("video-rotated", what))


def _first_image(report: Report, on_read: OnRead, file: CameraFile) -> Size | None:
    try:
        with ImageReader(file.path, file.key, on_read) as reader:
            frame = next(iter(reader.frames(file.first_episode, 1)))
    except DatasetError as problem:
        report.add(file.finding_of(problem, file.episode))
        return None
    if frame.min() == frame.max():
        report.add(file.warning("video-blank", "its first image is of one colour; look at it"))
    return frame.shape[0], frame.shape[1]


def _check_codecs(probes: list[tuple[CameraFile, Probe]], report: Report) -> None:
    for key in dict.fromkeys(file.key for file, _ in probes):
        files = [(file, seen.codec) for file, seen in probes if file.key == key]
        codecs = Counter(codec for _, codec in files)
        usual = codecs.most_common(1)[0][0]
        odd = next(((file, codec) for file, codec in files if codec != usual), None)
        if odd is not None:
            file, codec = odd
            what = f"is {codec}, most are {usual} ({dict(codecs)}); all are read"
            report.add(file.warning("codec-changes", what))


def _check_one_display(
    probes: list[tuple[CameraFile, Probe]], rotated: bool, report: Report
) -> None:
    """Warn of a camera whose files are shown in several ways: the contract has one for all.

    rotated: --apply_rotation
    """
    for key in dict.fromkeys(file.key for file, _ in probes):
        files = [
            (file, orientation(seen.display, True)) for file, seen in probes if file.key == key
        ]
        first, usual = files[0]
        odd = next(((file, shown) for file, shown in files if shown != usual), None)
        if odd is not None:
            file, shown = odd
            taken = "each file is taken as it is shown" if rotated else "all are taken as stored"
            what = (
                f"players show it {shown}, but {first.path.name} {usual}; {taken}, and the "
                f"contract with the robot names the first; look at pictures of both, and leave "
                f"episodes out where the camera lay differently"
            )
            report.add(file.warning("rotation-differs", what))


def _check_sizes(
    dataset: Dataset,
    seen: Mapping[str, list[tuple[CameraFile, Size]]],
    wanted: Size | None,
    report: Report,
) -> dict[str, Size]:
    info_path = dataset.root / "meta/info.json"
    sizes = {}
    for key, files in seen.items():
        if not files:
            continue
        usual = sizes[key] = Counter(size for _, size in files).most_common(1)[0][0]
        for file, size in files:
            if size != usual and wanted is not None:
                check_reduction(key, size, wanted, file.path, report.add)
            elif size != usual:
                what = (
                    f"is {by(size)}, expected {by(usual)} as in most files; leave its episodes "
                    f"out, or bring all to one size with --image_size"
                )
                report.add(file.error("video-size", what, file.episode))
        stated = dataset.features[key].size
        if stated is not None and stated != usual:
            what = f"the shape is {by(stated)}, but its images are {by(usual)}, which counts"
            report.add(warning("camera-shape", info_path, what, camera=key))
    check_sizes(sizes, wanted, dataset.root, report.add)
    return sizes
