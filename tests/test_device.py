"""A GPU that cannot be used is one sentence."""

import pytest
import torch

from act.processes.device import check_architecture, choose_device
from job.errors import UsageError
from tests.support.errors import raises_code

BUILT_FOR = ["sm_75", "sm_80", "sm_90", "sm_100", "compute_120"]


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (10, 3)])
def test_same_major_and_no_newer_minor_runs(capability: tuple[int, int]) -> None:
    check_architecture(capability, BUILT_FOR)


@pytest.mark.parametrize("capability", [(6, 1), (7, 0), (11, 0)])
def test_an_architecture_that_torch_was_not_built_for(capability: tuple[int, int]) -> None:
    with raises_code(UsageError, "device-missing", "sm_75, .*--device cpu"):
        check_architecture(capability, BUILT_FOR)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_where_there_is_none() -> None:
    with raises_code(UsageError, "device-missing", "--device cuda"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"
