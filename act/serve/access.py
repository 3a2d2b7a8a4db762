"""Who may ask: a key that only the robots and this server have, and an address to listen on."""

import hmac
import ipaddress
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from act.serve.flags import NetworkFlags
from job.errors import UsageError

KEY_VARIABLE = "ACT_API_KEY"
_SHORTEST, _LONGEST = 16, 4096
_SCHEME = "api-key"  # `Authorization: Api-Key …`, as openpi's client sends it


class Access:
    """The key, which is kept here and nowhere else: it has no repr, and no record holds it."""

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None else key.encode("ascii")

    @property
    def is_limited(self) -> bool:
        """Whether a key is asked for."""
        return self._key is not None

    def allows(self, headers: Sequence[str]) -> bool:
        """Whether the `Authorization` headers of a request have the key; in constant time."""
        if self._key is None:
            return True
        if len(headers) != 1:
            return False
        scheme, _, key = headers[0].strip().partition(" ")
        found = key.strip().encode("utf-8", "surrogateescape")
        return hmac.compare_digest(found, self._key) and scheme.lower() == _SCHEME


def access_of(flags: NetworkFlags, environ: MutableMapping[str, str]) -> Access:
    """The access that the flags and the environment ask for; raises UsageError.

    environ: what this process hands on to others; the key is taken out of it
    """
    from_environment = environ.pop(KEY_VARIABLE, None) or None
    where, key = KEY_VARIABLE, from_environment
    if flags.api_key_file:
        where, key = f"--api_key_file {flags.api_key_file}", _read(Path(flags.api_key_file))
    if key is not None:
        key = key.strip()
        _check(where, key)
    if key is None and not flags.insecure and not is_loopback(flags.host):
        raise UsageError(
            f"--host {flags.host} without a key: whoever reaches the port could drive the robot, "
            f"expected --api_key_file FILE or {KEY_VARIABLE} (openssl rand -hex 32 makes one); "
            f"where the network itself is closed, give --insecure",
            code="api-key-missing",
        )
    return Access(key)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST + 1).decode("ascii", "replace")
    except OSError as error:
        raise UsageError(
            f"--api_key_file {path}: cannot be read ({error.strerror}), expected a file that this "
            f"user may read",
            code="api-key-invalid",
        ) from error


def _check(where: str, key: str) -> None:
    """Refuse what is no key, without showing it."""
    fine = key.isascii() and key.isprintable() and " " not in key
    if fine and _SHORTEST <= len(key) <= _LONGEST:
        return
    found = f"{len(key)} characters" + ("" if fine else ", some of which no header can hold")
    raise UsageError(
        f"{where}: the key has {found}, expected {_SHORTEST} to {_LONGEST} letters, digits and "
        f"signs without spaces; openssl rand -hex 32 makes one",
        code="api-key-invalid",
    )
