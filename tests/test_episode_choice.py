"""Episode ranges, and what schedulers tell a job of its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.episode_choice import WHOLE, Shard, parse_shard
from episodes.ranges import chosen, parse_ranges
from job.errors import UsageError
from tests.support.errors import raises_code


def test_ranges_are_half_open() -> None:
    ranges = parse_ranges("0:3, 55")
    assert [n for n in range(100) if chosen(n, ranges, ())] == [0, 1, 2, 55]
    assert [n for n in range(5) if chosen(n, (), parse_ranges("1,3:9"))] == [0, 2]
    assert [n for n in range(5) if chosen(n, parse_ranges("0:4"), parse_ranges("2"))] == [0, 1, 3]


@pytest.mark.parametrize("text", ["", "a", "3:3", "5:2", "-1", "1:2:3", "1,,2", "9999999999"])
def test_a_bad_range(text: str) -> None:
    with pytest.raises(ValueError, match="0:40,55"):
        parse_ranges(text)


@given(st.integers(0, 300), st.integers(1, 20))
def test_shards_hold_each_episode_once(total: int, count: int) -> None:
    numbers = [n for index in range(count) for n in Shard(index, count).numbers(total)]
    assert sorted(numbers) == list(range(total))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, WHOLE),
        ({"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETIONS": "5"}, Shard(2, 5)),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "3"}, Shard(0, 3)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "3",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_ARRAY_TASK_MIN": "1",
            },
            Shard(2, 4),
        ),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, Shard(3, 4)),
    ],
)
def test_schedulers(environ: dict[str, str], expected: Shard) -> None:
    assert parse_shard("auto", environ) == expected
    assert parse_shard("1/2", environ) == Shard(1, 2)


@pytest.mark.parametrize(
    "environ",
    [
        {"JOB_COMPLETION_INDEX": "2"},
        {"JOB_COMPLETION_INDEX": "5", "JOB_COMPLETIONS": "5"},
        {"AWS_BATCH_JOB_ARRAY_INDEX": "x", "AWS_BATCH_JOB_ARRAY_SIZE": "3"},
    ],
)
def test_a_scheduler_that_does_not_say(environ: dict[str, str]) -> None:
    with raises_code(UsageError, "shard"):
        parse_shard("auto", environ)


@pytest.mark.parametrize("text", ["3/3", "1", "a/b", "-1/2", "1/0"])
def test_a_bad_shard(text: str) -> None:
    with raises_code(UsageError, "shard", f"'{text}'"):
        parse_shard(text, {})
