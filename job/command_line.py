"""Flags to a Config: the parser is made of its knobs, and its errors are one line."""

import argparse
import dataclasses
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from job.config import (
    AUGMENTATION,
    CONVERSION,
    DATA,
    DEPARTURES,
    MACHINE,
    NETWORK,
    OUTPUT,
    RUN,
    TRAINING,
    Config,
    knobs,
)
from job.errors import UsageError


def parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Config:
    """The job that a command line asks for; raises UsageError with one line.

    `BACKBONE_WEIGHTS` in the environment is the default of that flag (the image sets it).
    """
    given = vars(parser(environ).parse_args(argv))
    if "input" in given:
        given["input"] = tuple(given["input"])
    defaults = _environment_defaults(environ)
    return Config(**(defaults | given), given=frozenset(given))


def given_output(argv: Sequence[str]) -> Path:
    """The output folder that a command line names, also when the rest of it is wrong."""
    reader = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    reader.add_argument("--output", nargs="?", type=Path)
    return reader.parse_known_args(argv)[0].output or OUTPUT


def parser(environ: Mapping[str, str] = os.environ) -> argparse.ArgumentParser:
    """The command line, grouped; flags that were not given are absent from the result."""
    made = OneLineParser(
        prog="IMAGE",
        description="A LeRobot dataset goes in, a trained ACT policy comes out.",
        epilog="As upstream ACT, but for: " + "; ".join(DEPARTURES) + ".",
        formatter_class=_OneLineHelp,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    groups = (RUN, DATA, CONVERSION, TRAINING, AUGMENTATION, NETWORK, MACHINE)
    add_flags(made, groups, environ=environ)
    return made


def add_flags(
    made: argparse.ArgumentParser,
    groups: Sequence[str],
    without: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Add the flags of some groups of knobs to a parser."""
    defaults = _environment_defaults(environ)
    for name in groups:
        group = made.add_argument_group(name)
        for knob in knobs():
            if knob.metadata["group"] == name and knob.name not in without:
                _add_flag(group, knob, defaults.get(knob.name, knob.default))


def _add_flag(group: argparse._ArgumentGroup, knob: dataclasses.Field[Any], default: Any) -> None:
    flag, text = f"--{knob.name}", knob.metadata["help"]
    if knob.type is bool:
        group.add_argument(flag, action="store_true", help=f"{text} (off)")
        return
    required = default is dataclasses.MISSING
    choices = knob.metadata["choices"]
    group.add_argument(
        flag,
        required=required,
        action="append" if knob.type == tuple[Path, ...] else "store",
        type=_READERS.get(knob.type, knob.type),
        choices=choices or None,
        metavar="|".join(choices) if choices else _METAVARS.get(knob.type, "TEXT"),
        help=f"{text} ({shown_default(default)})",
    )


def read_names(text: str) -> tuple[str, ...]:
    """Names between commas; auto is none."""
    return () if text == "auto" else tuple(name.strip() for name in text.split(","))


def shown_default(default: Any) -> str:
    """A default as `--help` and the README show it."""
    if default is dataclasses.MISSING:
        return "required"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "auto"
    return str(default)


_READERS: dict[Any, Any] = {tuple[str, ...]: read_names, tuple[Path, ...]: Path}
_METAVARS: dict[Any, str] = {
    int: "N",
    float: "X",
    Path: "FOLDER",
    tuple[Path, ...]: "FOLDER",
    tuple[str, ...]: "A,B,…",
}


def _environment_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    weights = environ.get("BACKBONE_WEIGHTS")
    return {"backbone_weights": weights} if weights else {}


class _OneLineHelp(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=44, width=118)

    def add_usage(self, *_: Any, **__: Any) -> None:
        """The usage line would repeat every flag; `--help` shows them in groups."""
        super().add_usage("IMAGE --run_name NAME --task_name NAME [FLAG VALUE …]", [], [])


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the nearest flag."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self._with_nearest(message)}; --help lists the flags")

    def _with_nearest(self, message: str) -> str:
        match = re.fullmatch(r"unrecognized arguments: (\S+).*", message)
        if not match:
            return message
        flags = [flag for action in self._actions for flag in action.option_strings]
        near = difflib.get_close_matches(match[1].split("=")[0], flags, n=1)
        return message + (f"; the nearest flag is {near[0]}" if near else "")
