"""How flags are declared: a frozen class of them, each declared once, from which all else follows.

A group of flags is a frozen dataclass in the room whose thing it describes; a command is a class
that inherits the groups it takes. `job/command_line.py` makes the parser of such a class.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from job.address import shown_address, web_address
from job.bounds import Check
from job.errors import UsageError
from job.remote.address import Address, Place, read_place

REQUIRED = dataclasses.MISSING

Pair = tuple[str, str]  # of a flag that is given as KEY=NAME, and may be repeated

# The types of flags that may be repeated, each time with one value.
REPEATED = (tuple[Path, ...], tuple[Place, ...], tuple[Pair, ...])


def flag(
    help: str,
    default: Any = REQUIRED,
    *,
    check: Check | None = None,
    choices: Sequence[str] = (),
    same_run: bool = False,
    only_with: Sequence[str] = (),
    needs_cameras: bool = False,
    environ: str = "",
) -> Any:
    """A field of a class of flags; without a default it must be given.

    help: a sentence that stands alone
    same_run: another value changes no result, so a run may be resumed with it
    only_with: another flag and the values of it that this one needs; given with any other value,
        the command is refused
    needs_cameras: given where the policy sees no image, the command is refused
    environ: the variable of the environment that holds another default, if it is set
    """
    declared = Flag(help, check, tuple(choices), same_run, tuple(only_with), needs_cameras, environ)
    return field(default=default, metadata={"flag": declared})


def address(help: str, *, environ: str) -> Any:
    """A flag that takes an address on the web, of which only the host is shown and recorded."""
    shapes_no_result, needs_cameras = True, False
    bounds = (web_address, (), shapes_no_result, (), needs_cameras)
    return field(default="", metadata={"flag": Flag(help, *bounds, environ, shown_address)})


def place(help: str, default: Path) -> Any:
    """A flag that takes a folder, or an address for which the command has one."""
    shapes_no_result, needs_cameras = True, False
    bounds = (None, (), shapes_no_result, (), needs_cameras)
    return field(default=default, metadata={"flag": Flag(help, *bounds, "", read=read_place)})


def required(group: type["Flags"], name: str) -> Any:
    """The flag `name` of `group`, to be declared again by a command that insists on it."""
    (declared,) = (entry for entry in dataclasses.fields(group) if entry.name == name)
    return field(metadata=declared.metadata)


@dataclass(frozen=True)
class Flag:
    """How a flag is declared, besides its name, type and default."""

    help: str
    check: Check | None
    choices: tuple[str, ...]
    same_run: bool
    only_with: tuple[str, ...]
    needs_cameras: bool
    environ: str
    shown: Callable[[Any], Any] | None = None  # what may be shown of a value with a secret
    read: Callable[[str], Any] | None = None  # makes its value of a word, where no type says how

    def recorded(self, value: Any) -> Any:
        """A value as it may be shown and recorded, and as JSON has it."""
        return as_json(self.shown(value) if self.shown else value)


F = TypeVar("F", bound="Flags")


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags of a command or a group of them; raises UsageError for values out of bounds."""

    title: ClassVar[str] = ""  # of the group in `--help`
    options: ClassVar[Mapping[str, str]] = {}  # the command's names for flags, where they differ
    # names of the flags that the user asked for; not those that a file has at their default, as
    # the flags of a manifest have also what cannot apply
    given: frozenset[str] = frozenset()
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)  # where flags stood

    def __post_init__(self) -> None:
        for entry, declared in flags_of(type(self)):
            self._check_value(entry, declared)
        for entry, declared in flags_of(type(self)):
            if entry.name in self.given and declared.only_with:
                self._check_applies(entry.name, *declared.only_with)

    def _check_applies(self, name: str, other: str, *values: str) -> None:
        found = getattr(self, other, None)
        if found is not None and found not in values:
            message = (
                f"{self.option(name)} cannot apply to {self.option(other)} {found}; leave it out"
            )
            raise UsageError(message, code="flag-unused")

    def _check_value(self, entry: "dataclasses.Field[Any]", declared: Flag) -> None:
        value = getattr(self, entry.name)
        if value == entry.default:
            return
        expected = declared.check(value) if declared.check else None
        if declared.choices and value not in declared.choices:
            expected = f"one of {', '.join(declared.choices)}"
        if expected:
            message = (
                f"{self.option(entry.name)} is {declared.recorded(value)!r}, expected {expected}"
            )
            raise UsageError(message, code="flag-value")

    @property
    def written(self) -> frozenset[str]:
        """Names of the flags that stood anywhere, with whatever value."""
        return self.given | self.origins.keys()

    @classmethod
    def option(cls, name: str) -> str:
        """A flag as the command line has it."""
        return f"--{cls.options.get(name, name)}"

    def resolved(self) -> dict[str, Any]:
        """Every flag and its value, as JSON has it."""
        return {
            entry.name: declared.recorded(getattr(self, entry.name))
            for entry, declared in flags_of(type(self))
        }

    def shaping(self) -> dict[str, Any]:
        """The flags that shape the result, as JSON has them: another value is another run."""
        values = self.resolved()
        return {
            e.name: values[e.name] for e, declared in flags_of(type(self)) if not declared.same_run
        }

    def part(self, group: type[F]) -> F:
        """The flags of a group alone."""
        names = names_of(group)
        values = {name: getattr(self, name) for name in names}
        origins = {name: self.origins[name] for name in names & self.origins.keys()}
        return group(**values, given=self.given & names, origins=origins)


def flags_of(group: type[Flags]) -> Iterator[tuple["dataclasses.Field[Any]", Flag]]:
    """The flags of a class, those of its bases first."""
    for entry in dataclasses.fields(group):
        if "flag" in entry.metadata:
            yield entry, entry.metadata["flag"]


def names_of(group: type[Flags]) -> frozenset[str]:
    """The names of the flags of a class."""
    return frozenset(entry.name for entry, _ in flags_of(group))


def titled(group: type[Flags]) -> dict[str, list["dataclasses.Field[Any]"]]:
    """The flags of a class by the title of the group that each was declared in first.

    Required ones come first.
    """
    found: dict[str, list[dataclasses.Field[Any]]] = {}
    for base in group.__mro__:  # the titles in the order in which the command names its groups
        if title := vars(base).get("title"):
            found.setdefault(title, [])
    for entry, _ in flags_of(group):
        declaring = [
            base for base in group.__mro__ if entry.name in vars(base).get("__annotations__", ())
        ]
        found[vars(declaring[-1])["title"]].append(entry)
    for entries in found.values():
        entries.sort(key=lambda entry: entry.default is not REQUIRED)
    return {title: entries for title, entries in found.items() if entries}


def defaults_of(group: type[Flags]) -> dict[str, Any]:
    """The defaults of a class of flags by name, as JSON has them; required flags have none."""
    return {
        entry.name: as_json(entry.default)
        for entry, _ in flags_of(group)
        if entry.default is not REQUIRED
    }


def as_json(value: Any) -> Any:
    """A flag's value as JSON has it; an empty tuple is `auto`."""
    if isinstance(value, tuple):
        return [as_json(item) for item in value] or "auto"
    return str(value) if isinstance(value, Path | Address) else value
