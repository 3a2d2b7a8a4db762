"""What the server counts, as the text that Prometheus reads."""

import time
from bisect import bisect_left
from collections import Counter

_BOUNDS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_PREFIX = "lerobot_to_act_"


class Metrics:
    """Counts since the start; latency is from the whole request to its answer."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter(dict.fromkeys(("chunk", "step", "reset"), 0))
        self._errors: Counter[str] = Counter()
        self._latencies = [0] * (len(_BOUNDS_S) + 1)
        self._sum_s = 0.0
        self._last = time.monotonic()
        self._any = False

    def came(self) -> None:
        """A request came, of whatever kind."""
        self._last, self._any = time.monotonic(), True

    def answered(self, kind: str, seconds: float) -> None:
        """One was answered with what it asked for."""
        self._requests[kind] += 1
        self._latencies[bisect_left(_BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def failed(self, code: str) -> None:
        """One was answered with an error, or a connection was refused; `code` of job/codes.py."""
        self._errors[code] += 1

    def text(self, *, connections: int, pending: int, late: int) -> str:
        """In Prometheus' text format, version 0.0.4. late: as `Pace` has it"""
        lines = [
            *_head("requests_total", "counter", "Requests that were answered, by kind."),
            *(f'{_PREFIX}requests_total{{kind="{k}"}} {n}' for k, n in self._requests.items()),
            *_head("errors_total", "counter", "Requests that were answered with an error."),
            *(f'{_PREFIX}errors_total{{code="{c}"}} {n}' for c, n in sorted(self._errors.items())),
            *_head("latency_seconds", "histogram", "From a whole request to its answer."),
            *self._histogram(),
            *_head("late_queries_total", "counter", "Queries that took longer than their ticks."),
            f"{_PREFIX}late_queries_total {late}",
            *_head("last_request_age_seconds", "gauge", "Since the last request; NaN: none yet."),
            f"{_PREFIX}last_request_age_seconds {self._age_s()}",
            *_head("connections", "gauge", "Clients that are connected."),
            f"{_PREFIX}connections {connections}",
            *_head("pending", "gauge", "Requests that wait, and the one under way."),
            f"{_PREFIX}pending {pending}",
        ]
        return "\n".join(lines) + "\n"

    def _age_s(self) -> str:
        return f"{time.monotonic() - self._last:.3f}" if self._any else "NaN"

    def _histogram(self) -> list[str]:
        lines, count = [], 0
        for bound, number in zip((*map(str, _BOUNDS_S), "+Inf"), self._latencies, strict=True):
            count += number
            lines.append(f'{_PREFIX}latency_seconds_bucket{{le="{bound}"}} {count}')
        return [
            *lines,
            f"{_PREFIX}latency_seconds_sum {self._sum_s:.6f}",
            f"{_PREFIX}latency_seconds_count {count}",
        ]


def _head(name: str, kind: str, help: str) -> list[str]:
    return [f"# HELP {_PREFIX}{name} {help}", f"# TYPE {_PREFIX}{name} {kind}"]
