"""Where flags may stand besides the command line: in environment variables and in a file.

The command line wins, then the environment, then the file. A flag's variable is `ACT_` and its name
in capitals, and so is that of `--config`, which names the file: YAML or JSON, flags by their names,
as the manifest has them. All commands share variables and files: what another command takes is
passed over, and what none takes is an error.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job.errors import UsageError
from job.every_flag import EVERY_FLAG
from job.flags import REPEATED
from job.words import nearest

PREFIX = "ACT_"
CONFIG = "config"
COMMAND_LINE, ENVIRONMENT, FILE = "command line", "environment", "file"
# Variables of ours that are no flags: a secret has no flag.
_NO_FLAGS = frozenset({"ACT_API_KEY"})
UNSET = ("", "null", "~")  # as YAML and JSON have a flag that has no value

Entries = Mapping[str, "dataclasses.Field[Any]"]


@dataclass(frozen=True)
class Given:
    """A flag that stands somewhere else, as the command line would have it."""

    option: str
    words: tuple[str, ...]  # none: a switch that is off
    origin: str  # for the manifest and for errors


def variable(name: str) -> str:
    """The environment variable of a flag."""
    return PREFIX + name.upper()


def from_environment(entries: Entries, environ: Mapping[str, str]) -> list[Given]:
    """The flags of a command that variables hold; raises UsageError for one of no command.

    entries: the command's flags, by its names for them
    """
    of_flags = {variable(name): name for name in (*entries, *EVERY_FLAG, CONFIG)}
    found = []
    for key, text in environ.items():
        if not key.startswith(PREFIX) or key in _NO_FLAGS:
            continue
        name = of_flags.get(key)
        if name is None:
            near = nearest(key, [*of_flags], "variable")
            raise UsageError(
                f"{key}: is no flag of any command{near}; unset it", code="flag-unknown"
            )
        if name in entries and text not in UNSET:
            values = text.split(",") if entries[name].type in REPEATED else [text]
            found.append(_given(name, entries[name], values, f"{ENVIRONMENT} {key}"))
    return found


def from_file(entries: Entries, path: Path) -> list[Given]:
    """The flags of a command in a file; raises UsageError.

    entries: the command's flags, by its names for them
    """
    found = []
    for name, value in read_mapping(path).items():
        if name not in entries and name not in EVERY_FLAG:
            raise UsageError(
                f"{path}: {name} is no flag of any command{nearest(name, [*EVERY_FLAG])}; "
                f"remove it",
                code="flag-unknown",
            )
        if name in entries and value not in UNSET:
            values = _texts(value, entries[name], f"{path}: {name}")
            if values != ["auto"] or entries[name].type not in REPEATED:
                found.append(_given(name, entries[name], values, f"{FILE} {path}"))
    return found


def config_path(given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file that the command line or the environment names; None: neither does."""
    found = given.get(CONFIG) or environ.get(variable(CONFIG))
    return Path(found) if found else None


def _given(name: str, entry: "dataclasses.Field[Any]", values: list[str], origin: str) -> Given:
    option = f"--{name}"
    if entry.type is not bool:
        return Given(option, tuple(f"{option}={value}" for value in values), origin)
    if values not in (["true"], ["false"]):
        raise UsageError(
            f"{origin}: {name} is {','.join(values)!r}, expected true or false", code="flag-value"
        )
    return Given(option, (option,) if values == ["true"] else (), origin)


def read_mapping(path: Path, what: str = "--config") -> dict[str, Any]:
    """What a file holds, every number and word as text; raises UsageError.

    what: named the file, for errors
    """
    import yaml

    try:
        found = yaml.load(path.read_bytes(), _loader())
    except OSError as error:
        message = f"{what} {path}: cannot be read ({error.strerror}), expected a YAML file of flags"
        raise UsageError(message, code="config-unreadable") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise UsageError(
            f"{what} {path}: is no YAML ({said}), expected lines like batch_size: 8",
            code="config-unreadable",
        ) from error
    found = {} if found in ("", None) else found
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise UsageError(
            f"{what} {path}: holds no flags by name, expected lines like batch_size: 8",
            code="config-unreadable",
        )
    return found


def _loader() -> Any:
    """A loader that makes text of every scalar: `off` stays `off`, and nothing is executed.

    Made when a file is named, as most command lines have none; a name that stands twice is refused.
    """
    import yaml

    class Loader(yaml.BaseLoader):  # type: ignore[misc]  # yaml has no types
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise yaml.YAMLError(f"{twice} stands twice")
            return super().construct_mapping(node, deep)

    return Loader


def _texts(value: Any, entry: "dataclasses.Field[Any]", where: str) -> list[str]:
    """The texts of a flag's values, a pair as KEY=NAME; raises UsageError."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(item, str | list) for item in value):
        texts = [item if isinstance(item, str) else "=".join(map(str, item)) for item in value]
        return texts if entry.type in REPEATED else [",".join(texts)]
    raise UsageError(
        f"{where} is neither a value nor a list of values, expected what its flag takes",
        code="flag-value",
    )
