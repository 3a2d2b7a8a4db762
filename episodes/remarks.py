"""What one should know of episode files: what is in them and not used, and where they differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from episodes.folder import missing_numbers, other_files
from episodes.reader import EpisodeInfo
from episodes.reading import ENV_STATE, LEFT_OUT, Reading

_SHOWN = 5


@dataclass(frozen=True)
class Remark:
    """A warning, with its code in job/codes.py."""

    code: str
    where: Path
    what: str  # follows the place in the message
    camera: str | None = None

    def __str__(self) -> str:
        camera = "" if self.camera is None else f"camera {self.camera!r}: "
        return f"{self.code}: {self.where}: {camera}{self.what}"


def remarks(
    infos: Sequence[EpisodeInfo], used: Sequence[str], asked: Sequence[str], reading: Reading
) -> list[Remark]:
    """What is to be said of files that are trained on together, each thing once.

    used, asked: the cameras that are used, and those of --camera_names
    """
    return [
        *_of_sim(infos, reading),
        *_of_base(infos, reading),
        *_of_cameras(infos, used, asked),
        *_of_parts(infos),
        *(remark for folder in _folders(infos) for remark in _of_folder(folder)),
    ]


def _of_sim(infos: Sequence[EpisodeInfo], reading: Reading) -> Iterator[Remark]:
    real = [info for info in infos if not info.sim]
    if reading.sim is None and 0 < len(real) < len(infos):
        yield Remark(
            "sim-differs",
            infos[0].path.parent,
            f"sim is false in {_of(real, infos)}, such as {real[0].path.name}, and true in the "
            f"others: those are trained on action[t-1], these on action[t]; --sim makes it the "
            f"same for all",
        )


def _of_base(infos: Sequence[EpisodeInfo], reading: Reading) -> Iterator[Remark]:
    having = [info for info in infos if info.has_base]
    if having and reading.base_action == LEFT_OUT:
        yield Remark(
            "base-action-unused",
            having[0].path.parent,
            f"/base_action, in {_of(having, infos)}, is not used, and the policy will not move the "
            f"base" + _base_remedy(having, infos),
        )


def _base_remedy(having: Sequence[EpisodeInfo], infos: Sequence[EpisodeInfo]) -> str:
    if len(having) < len(infos):
        return "; --base_action append would use it if every file had one"
    return "; --base_action append joins it behind /action"


def _of_cameras(
    infos: Sequence[EpisodeInfo], used: Sequence[str], asked: Sequence[str]
) -> Iterator[Remark]:
    unused: dict[str, list[EpisodeInfo]] = {}
    for info in infos:
        for name in info.cameras:
            if name not in used:
                unused.setdefault(name, []).append(info)
    depth = [name for name, having in unused.items() if any(name in i.depth for i in having)]
    for name in depth:
        having = unused.pop(name)
        what = (
            f"is shaped or named as depth, or as a mask, in {_of(having, infos)}, and is left out"
        )
        if all(info.depth.get(name, True) for info in having):
            what += "; --camera_names takes it, if it is a camera"
        yield Remark("depth-left-out", having[0].path.parent, what, name)
    if unused and not asked:
        having = [info for info in infos if unused.keys() & set(info.cameras)]
        yield Remark(
            "cameras-unused",
            having[0].path.parent,
            f"cameras of {_of(having, infos)} are not used: {_list(list(unused))}; the first file, "
            f"{infos[0].path.name}, gives {_list(used)}; --camera_names chooses of those that "
            f"every file has",
        )


def _of_parts(infos: Sequence[EpisodeInfo]) -> Iterator[Remark]:
    names = list(dict.fromkeys(name for info in infos for name in info.not_known))
    having = [info for info in infos if info.not_known]
    if having:
        what = f"{_list(names)}, in {_of(having, infos)}: no part of ALOHA's layout, not used"
        if f"observations/{ENV_STATE}" in names:
            what += f"; --env_state_key {ENV_STATE} lets the policy see the environment state"
        yield Remark("parts-unused", having[0].path.parent, what)


def _of_folder(folder: Path) -> Iterator[Remark]:
    count, first = missing_numbers(folder)
    if count:
        what = f"{count} numbers are missing between the episode files, the first is {first}"
        yield Remark("episode-gap", folder, what)
    others = other_files(folder)
    if others:
        what = f"{_list([path.name for path in others])}: not named as episode files, not used"
        yield Remark("file-unlisted", folder, what)


def _folders(infos: Sequence[EpisodeInfo]) -> list[Path]:
    return list(dict.fromkeys(info.path.parent for info in infos))


def _of(some: Sequence[EpisodeInfo], infos: Sequence[EpisodeInfo]) -> str:
    return f"{len(some)} of {len(infos)} episode files"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = (name if name.isprintable() else repr(name) for name in names[:_SHOWN])
    return ", ".join(shown) + more
