"""Which process of a run this is, by the variables of those who start them."""

import logging

import pytest

from act.processes.group import is_lost
from job import ranks

COMPLETE = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment that the module reads, to be filled."""
    made: dict[str, str] = {}
    monkeypatch.setattr("os.environ", made)
    return made


def test_an_operators_process_has_its_place(variables: dict[str, str]) -> None:
    variables |= COMPLETE
    assert (ranks.in_group(), ranks.rank()) == (False, 0)  # check and convert work alone
    ranks.take_over_from_operator(variables)
    assert (ranks.in_group(), ranks.by_torchrun()) == (True, False)
    assert (ranks.rank(), ranks.local_rank()) == (1, 0)
    assert ranks.processes_to_start(4, "cpu") == 0
    assert ranks.leave_exit_code(75) == 75  # there is no launcher to tell it to


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"LOCAL_RANK": "3", "SLURM_LOCALID": "2"}, 3),
        ({"SLURM_LOCALID": "2"}, 2),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "1"}, 1),
        ({"LOCAL_RANK": "first"}, 0),
    ],
)
def test_processes_of_one_machine_are_numbered(
    variables: dict[str, str], more: dict[str, str], expected: int
) -> None:
    variables |= COMPLETE | more
    ranks.take_over_from_operator(variables)
    assert ranks.local_rank() == expected


@pytest.mark.parametrize(
    "others",
    [
        {"PET_NNODES": "2"},  # torchrun is to start this machine's processes
        {"TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "0"},  # it has done so
        {"WORLD_SIZE": "1", "RANK": "0"},  # one alone, which may start others
    ],
)
def test_torchrun_comes_first_and_one_is_no_group(
    variables: dict[str, str], others: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    variables |= COMPLETE | others
    ranks.take_over_from_operator(variables)
    assert ranks.in_group() is ranks.by_torchrun()
    ranks.warn_of_variables(0, variables)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ({"RANK": "0"}, "RANK=0"),
        ({"WORLD_SIZE": "4"}, "WORLD_SIZE=4"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT"),
        ({**COMPLETE, "MASTER_PORT": ""}, "not MASTER_PORT"),
        ({**COMPLETE, "RANK": "2"}, "RANK=2"),
        ({**COMPLETE, "RANK": "-1"}, "RANK=-1"),
        ({**COMPLETE, "WORLD_SIZE": "two"}, "WORLD_SIZE=two"),
    ],
)
def test_what_is_incomplete_is_warned_of_and_not_used(
    variables: dict[str, str], found: dict[str, str], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    variables |= found
    ranks.take_over_from_operator(variables)
    assert (ranks.in_group(), ranks.rank()) == (False, 0)
    ranks.warn_of_variables(0, variables)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith("process-variables: ")
    assert named in record.message


def test_what_a_launcher_found_incomplete_its_processes_warn_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    variables = {"RANK": "0", "WORLD_SIZE": "2"}
    ranks.hand_on_variables(variables)
    variables |= COMPLETE | {"TORCHELASTIC_RUN_ID": "1"}  # as torchrun gives them to each
    ranks.warn_of_variables(2, variables)
    (record,) = caplog.records
    assert "MASTER_ADDR and MASTER_PORT" in record.message
    variables = {"TORCHELASTIC_RUN_ID": "1", **COMPLETE}
    ranks.hand_on_variables(variables)
    ranks.warn_of_variables(2, variables)
    assert len(caplog.records) == 1


def test_processes_that_do_not_apply_are_warned_of(
    variables: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    variables |= COMPLETE
    ranks.take_over_from_operator(variables)
    ranks.warn_of_variables(1, variables)
    assert caplog.records == []
    ranks.warn_of_variables(4, variables)
    assert caplog.records[0].message.startswith("process-variables: --processes 4 ")


@pytest.mark.parametrize("found", [{}, {"WORLD_SIZE": "1"}, {"MASTER_ADDR": "node0"}])
def test_nothing_is_said_where_nothing_is_meant(
    variables: dict[str, str], found: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    variables |= found
    ranks.take_over_from_operator(variables)
    ranks.warn_of_variables(0, variables)
    assert (ranks.in_group(), caplog.records) == (False, [])


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("Application timeout caused pair closure", True),  # seen within a backward pass
        ("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]", True),
        ("Distributed package doesn't have NCCL built in", False),
        ("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)", False),
    ],
)
def test_what_torch_says_of_a_process_that_is_gone(text: str, lost: bool) -> None:
    assert is_lost(RuntimeError(text)) is lost
