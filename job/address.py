"""Addresses on the web that a flag names: which are taken, and what of them may be shown."""

from urllib.parse import SplitResult, urlsplit


def web_address(value: str) -> str | None:
    """An address of http or https with a host, or none at all: a bound of a flag."""
    if not value or _split(value) is not None:
        return None
    return "http://HOST… or https://HOST…, without spaces"


def shown_address(value: str) -> str:
    """Scheme, host and port alone: the rest, and what stands before the host, may be secret."""
    parts = _split(value)
    if parts is None:
        return value and "an address"
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{host_of(value)}{port}"


def host_of(value: str) -> str:
    """Its host."""
    parts = _split(value)
    host = (parts and parts.hostname) or ""
    return f"[{host}]" if ":" in host else host


def without_login(value: str) -> tuple[str, str | None]:
    """The address that is asked for, and `user:password` where it holds that."""
    login, found, place = urlsplit(value).netloc.rpartition("@")
    return urlsplit(value)._replace(netloc=place).geturl(), login if found else None


def _split(value: str) -> SplitResult | None:
    if not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
        usual = parts.port is None or parts.port > 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        return None
    return parts if usual and parts.scheme in ("http", "https") and parts.hostname else None
