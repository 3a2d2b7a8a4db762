"""The command line of a class of flags: its parser, whose errors are one line, and its values."""

import argparse
import contextlib
import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from job.errors import UsageError
from job.flag_sources import (
    COMMAND_LINE,
    CONFIG,
    FILE,
    Given,
    config_path,
    from_environment,
    from_file,
    read_mapping,
    variable,
)
from job.flags import REPEATED, REQUIRED, Flag, Flags, Pair, flags_of, titled
from job.remote.address import Place, is_address, read_place
from job.words import nearest

F = TypeVar("F", bound=Flags)


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest flag; it has no abbreviated flags."""

    def __init__(self, prog: str, description: str, usage: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            usage=f"{prog} {usage}",
            epilog=epilog,
            formatter_class=_OneLineHelp,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        self.needed: list[str] = []  # not argparse's `required`, which hides a mistyped flag
        self.entries: dict[str, dataclasses.Field[Any]] = {}  # by the command's names for them
        self.environ: Mapping[str, str] = {}
        self.add_argument(
            f"--{CONFIG}",
            metavar="FILE",
            help="YAML file of flags; variables (ACT_RUN_NAME, …) override it, this line both.",
        )

    def values(self, argv: Sequence[str]) -> "Values":
        """What a command line, the environment and a file give; raises UsageError."""
        given = self._on_line(argv)
        path = config_path(given, self.environ)
        elsewhere = from_file(self.entries, path) if path else []
        elsewhere += from_environment(self.entries, self.environ)
        given.pop(CONFIG, None)
        found = Values()
        for one in elsewhere:
            if self.entries[one.option[2:]].name in given:
                continue  # what does not count may be wrong
            found.add(self._elsewhere(one), one.origin)
        found.add(given, COMMAND_LINE)
        missing = [option for option in self.needed if option[2:] not in self._given(found)]
        if missing:
            raise _refusal(f"missing flags: {', '.join(missing)}", "flag-missing")
        return found

    def _elsewhere(self, one: Given) -> dict[str, Any]:
        """What a flag gives that stands in a variable or in a file."""
        name = self.entries[one.option[2:]].name
        try:
            return {name: vars(self.parse_args(one.words)).get(name, False)}
        except UsageError as error:
            raise UsageError(f"{one.origin}: {error}", code=error.code) from None

    def _on_line(self, argv: Sequence[str]) -> dict[str, Any]:
        found, unknown = self.parse_known_args(argv)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            near = nearest(unknown[0].partition("=")[0], options)
            raise _refusal(f"unrecognized arguments: {' '.join(unknown)}{near}", "flag-unknown")
        return vars(found)

    def _given(self, given: Collection[str]) -> set[str]:
        return {
            option[2:]
            for action in self._actions
            for option in action.option_strings
            if action.dest in given
        }

    def error(self, message: str) -> NoReturn:
        """Raise what argparse refuses: a value of the wrong type, or a flag without one."""
        raise _refusal(message, "flag-value")


def _refusal(message: str, code: str) -> UsageError:
    return UsageError(f"{message}; --help lists the flags", code=code)


class Values(dict[str, Any]):
    """The values of flags by name, and where each stood."""

    def __init__(self) -> None:
        super().__init__()
        self.origins: dict[str, str] = {}

    def add(self, values: Mapping[str, Any], origin: str) -> None:
        """Add what stands in one place, over what stood in those before."""
        self.update(values)
        self.origins |= dict.fromkeys(values, origin)

    def on_line(self, *names: str) -> set[str]:
        """Which of these flags stand on the command line."""
        return {name for name in names if self.origins.get(name) == COMMAND_LINE}


def add_flags(
    made: OneLineParser,
    kind: type[Flags],
    options: Mapping[str, str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Add the flags of a class to a parser, in their groups.

    options: the flags that the command takes and its names for them; None = all, by their own
    """
    for title, entries in titled(kind).items():
        shown = [entry for entry in entries if options is None or entry.name in options]
        group = made.add_argument_group(title) if shown else made
        for entry in shown:
            option = f"--{(options or {}).get(entry.name, entry.name)}"
            default = _environment(entry.metadata["flag"], environ) or entry.default
            _add_flag(group, option, entry, default)
            made.entries[option[2:]] = entry
            if default is REQUIRED:
                made.needed.append(option)
    made.environ = environ


def make(kind: type[F], given: Values, environ: Mapping[str, str] = os.environ) -> F:
    """The flags of a command from the values that it was given; raises UsageError."""
    defaults = {
        entry.name: value
        for entry, declared in flags_of(kind)
        if (value := _environment(declared, environ))
    }
    try:
        return kind(**(defaults | given), given=_asked_for(kind, given), origins=given.origins)
    except UsageError as error:
        raise UsageError(
            f"{error}{_origins_of(str(error), kind, given)}", code=error.code
        ) from None


def _asked_for(kind: type[Flags], given: Values) -> frozenset[str]:
    usual = {entry.name: entry.default for entry, _ in flags_of(kind)}
    return frozenset(
        name
        for name, value in given.items()
        if not given.origins.get(name, "").startswith(FILE) or value != usual[name]
    )


def _origins_of(message: str, kind: type[Flags], given: Values) -> str:
    """What is to be added to an error: where the flags that it names stand, if elsewhere."""
    words = message.replace(",", " ").replace(":", " ").replace(";", " ").split()
    found = [
        f"; {kind.option(name)} is from {origin}"
        for name, origin in given.origins.items()
        if origin != COMMAND_LINE and kind.option(name) in words
    ]
    return "".join(found)


def given_output(
    argv: Sequence[str], default: Path, environ: Mapping[str, str] = os.environ
) -> Path:
    """The output folder that a command line names, also when the rest of it is wrong."""
    reader = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    for name in ("output", CONFIG):
        reader.add_argument(f"--{name}", nargs="?")
    given = vars(reader.parse_known_args(argv)[0])
    found = given["output"] or environ.get(variable("output"))
    if not found and (path := config_path(given, environ)):
        with contextlib.suppress(UsageError):
            found = read_mapping(path).get("output")
    return Path(found) if isinstance(found, str) and not is_address(found) else default


def shown_default(default: Any) -> str:
    """A default as `--help` and the documentation show it."""
    if default is REQUIRED:
        return "required"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "auto"
    return "none" if default in (None, "") else str(default)


def _add_flag(
    group: "argparse._ActionsContainer", option: str, entry: "dataclasses.Field[Any]", default: Any
) -> None:
    declared: Flag = entry.metadata["flag"]
    known = declared.shown(default) if declared.shown else default
    text = f"{declared.help} ({shown_default(known)})".replace("%", "%%")
    if entry.type is bool:
        group.add_argument(option, dest=entry.name, action="store_true", help=text)
        return
    many = entry.type in REPEATED
    group.add_argument(
        option,
        dest=entry.name,
        action=_Append if many else "store",
        type=declared.read or _READERS.get(entry.type, entry.type),
        choices=declared.choices or None,
        metavar="|".join(declared.choices) or _METAVARS.get(entry.type, "TEXT"),
        help=text,
    )


class _Append(argparse.Action):
    """A flag that may be repeated, as a tuple."""

    def __call__(
        self, _: Any, namespace: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest, ()), value))


def _read_names(text: str) -> tuple[str, ...]:
    return () if text == "auto" else tuple(name.strip() for name in text.split(","))


def _read_pair(text: str) -> Pair:
    key, is_pair, name = text.partition("=")
    if not (key and is_pair and name):
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=NAME")
    return key, name


def _read_folder(text: str) -> Path:
    if is_address(text):
        raise argparse.ArgumentTypeError(f"{text!r} is an address, expected a folder")
    return Path(text)


_READERS: dict[Any, Any] = {
    Path: _read_folder,
    tuple[str, ...]: _read_names,
    tuple[Path, ...]: _read_folder,
    tuple[Place, ...]: read_place,
    tuple[Pair, ...]: _read_pair,
    Path | None: _read_folder,
    float | None: float,
}
_METAVARS: dict[Any, str] = {
    int: "N",
    float: "X",
    Path: "FOLDER",
    Path | None: "FOLDER",
    tuple[Path, ...]: "FOLDER",
    tuple[Place, ...]: "FOLDER",
    tuple[Pair, ...]: "KEY=NAME",
    float | None: "X",
    tuple[str, ...]: "A,B,…",
}


def _environment(declared: Flag, environ: Mapping[str, str]) -> str | None:
    return environ.get(declared.environ) or None if declared.environ else None


class _OneLineHelp(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=44, width=132)
