"""The flags of `serve`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act.processes.flags import ComputeFlags
from job.bounds import above, at_least, some_text
from job.flags import Flags, Pair, flag
from job.run_flags import OutputFlags


def _port(value: int) -> str | None:
    return None if 0 <= value < 2**16 else "0 to 65535"


@dataclass(frozen=True, kw_only=True)
class LoadFlags(ComputeFlags):
    """Which policy, and how its chunks become steps: what `load_policy` takes."""

    title = "policy"

    output: Path = flag(
        "Folder below which a run is looked for by its name.", OutputFlags().output, same_run=True
    )
    checkpoint: str = flag(
        "Checkpoint: best, last, epoch_1200, …; auto = the one that policy.json names.",
        "auto",
        check=some_text,
    )
    allow_cut: bool = flag("A policy without some dims of its dataset is served too.", False)
    mode: str = flag(
        "How single steps execute chunks; auto = as policy.json recommends.",
        "auto",
        choices=("auto", "open_loop", "temporal_ensembling"),
    )
    horizon: int = flag(
        "Actions of a chunk that single steps execute; 0 = as policy.json recommends.",
        0,
        check=at_least(0),
    )
    ensembling_weight: float | None = flag(
        "Weight of temporal ensembling; none = as policy.json recommends.", None
    )
    align_first_action: bool = flag(
        "Single steps drop the first action of a chunk (--sim false).", False
    )


@dataclass(frozen=True, kw_only=True)
class LimitFlags(Flags):
    """What an action and an observation may be."""

    title = "limits"

    action_range: str = flag(
        "Range of each action dim; data = what the episodes had, with --margin.",
        "none",
        choices=("none", "data"),
    )
    margin: float = flag(
        "Part of each dim's range that is allowed beyond it on either side.",
        0.05,
        check=at_least(0),
        only_with=("action_range", "data"),
    )
    max_change: float | None = flag(
        "Most that single steps change a dim per tick, in the dataset's unit.",
        None,
        check=above(0),
    )
    low_pass_hz: float | None = flag(
        "Cut-off in Hz of a low-pass over single steps.", None, check=above(0)
    )
    stale_ticks: int = flag(
        "Single steps with the same pixels or state that are refused; 0 = off.",
        0,
        check=at_least(0),
    )


@dataclass(frozen=True, kw_only=True)
class NetworkFlags(Flags):
    """Who may ask what, and how much at once."""

    title = "network"

    host: str = flag("Address on which requests are taken.", "127.0.0.1")
    port: int = flag("Port on which requests are taken; 0 = a free one.", 8000, check=_port)
    api_key_file: str = flag(
        "File with the key that clients must have; otherwise ACT_API_KEY holds it.", ""
    )
    insecure: bool = flag("Other machines may ask without a key.", False)
    map: tuple[Pair, ...] = flag(
        "A client's key for a camera, state or env_state; NAME - leaves it out.", ()
    )
    warm_up: bool = flag("Some queries are computed before the port opens.", False)
    max_connections: int = flag("Clients that are connected at once.", 16, check=at_least(1))
    max_waiting: int = flag(
        "Requests that wait for the one under way; more are answered: busy.", 8, check=at_least(0)
    )
    max_message_mb: int = flag("Largest message of a client in MB.", 32, check=at_least(1))


@dataclass(frozen=True, kw_only=True)
class ServeFlags(NetworkFlags, LimitFlags, LoadFlags):
    """`serve`: a policy that robots ask over the network."""

    def loading(self) -> dict[str, Any]:
        """What `load_policy` is to be given, but for the limits."""
        return {
            "checkpoint": None if self.checkpoint == "auto" else self.checkpoint,
            "output": self.output,
            "device": self.device,
            "precision": self.precision,
            "compile": self.compile,
            "mode": None if self.mode == "auto" else self.mode,
            "horizon": self.horizon or None,
            "ensembling_weight": self.ensembling_weight,
            "align_first_action": self.align_first_action,
            "allow_cut": self.allow_cut,
        }

    def limits(self) -> dict[str, Any]:
        """What `Limits` is to be given."""
        return {
            "action_range": "data" if self.action_range == "data" else None,
            "margin": self.margin if self.action_range == "data" else None,
            "max_change": self.max_change,
            "low_pass_hz": self.low_pass_hz,
            "stale_ticks": self.stale_ticks or None,
        }
