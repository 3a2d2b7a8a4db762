"""Shares of the work for machines side by side: which episodes each of them converts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from job.errors import UsageError

# Where schedulers give a job its place: (name, index, count, first index); a count of None has to
# come from the person who wrote the job.
_SCHEDULERS = (
    ("Kubernetes", "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", None),
    ("AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE", None),
    ("Slurm", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
)


@dataclass(frozen=True)
class Shard:
    """Every `count`-th episode, beginning with number `index`."""

    index: int
    count: int

    def numbers(self, total: int) -> range:
        """The output numbers of this share of `total` episodes."""
        return range(self.index, total, self.count)


WHOLE = Shard(0, 1)


def parse_shard(text: str, environ: Mapping[str, str]) -> Shard:
    """`i/n`, or `auto`: the scheduler's array index and size, the whole where there is none."""
    if text == "auto":
        return _scheduled(environ)
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or int(match[1]) >= int(match[2]):
        message = f"--shard is {text!r}, expected i/n with i from 0 to n - 1, or auto"
        raise UsageError(message, code="shard")
    return Shard(int(match[1]), int(match[2]))


def _scheduled(environ: Mapping[str, str]) -> Shard:
    for scheduler, index_key, count_key, first_key in _SCHEDULERS:
        if index_key not in environ:
            continue
        try:
            if count_key not in environ:
                raise UsageError(
                    f"--shard auto: {scheduler} set {index_key}={environ[index_key]!r} but not "
                    f"{count_key}, expected both; set {count_key} to the number of jobs, or give "
                    f"--shard i/n",
                    code="shard",
                )
            first = int(environ.get(first_key, "0")) if first_key else 0
            index, count = int(environ[index_key]) - first, int(environ[count_key])
        except ValueError as error:
            raise UsageError(
                f"--shard auto: {scheduler} set {index_key}={environ[index_key]!r} and {count_key} "
                f"is {environ[count_key]!r}, expected whole numbers; set {count_key} to the "
                f"number of jobs, or give --shard i/n",
                code="shard",
            ) from error
        if not 0 <= index < count:
            raise UsageError(
                f"--shard auto: {scheduler} gave place {index} of {count}, expected 0 to "
                f"{count - 1}; number the array's jobs without gaps, or give --shard i/n",
                code="shard",
            )
        return Shard(index, count)
    return WHOLE
