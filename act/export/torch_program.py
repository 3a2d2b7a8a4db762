"""The graph as a program of torch.export, and compiled by AOTInductor: for C++, without Python."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from act.export.graph import Graph, example_inputs
from act.load.own_dims import Layout, OwnDims
from act.load.packages import quiet
from episodes.arrays import FloatArray
from job.errors import UsageError, first_line
from job.sections.contract import Contract

PROGRAM, PACKAGE = "policy.pt2", "policy_aot_inductor.pt2"
_EXAMPLES = 2  # a batch of one would be taken for a fixed one


def program_of(
    graph: Graph, contract: Contract, layout: Layout, batch: int
) -> torch.export.ExportedProgram:
    """The graph, traced for a batch of any size (0), or of a fixed one."""
    examples = example_inputs(contract, layout, batch or _EXAMPLES)
    dynamic: Any = None
    if not batch:
        axis = torch.export.Dim("batch")
        dynamic = ({0: axis}, tuple({0: axis} for _ in examples[1:]))
    with torch.no_grad(), quiet():
        return torch.export.export(graph, examples, dynamic_shapes=dynamic)


def save_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write a .pt2 that `torch.export.load` reads."""
    with quiet():
        torch.export.save(program, path)


def compile_package(program: torch.export.ExportedProgram, path: Path) -> None:
    """Compile a .pt2 for this machine's processor; raises UsageError where that is not possible."""
    if shutil.which("g++") is None:
        raise UsageError(
            "--aot_inductor: there is no g++, expected one to compile with; install it "
            "(apt-get install g++), or leave the flag out",
            code="compilation-unavailable",
        )
    try:
        with quiet():
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    except Exception as error:  # whatever a compiler may stumble over
        raise UsageError(
            f"--aot_inductor: cannot be compiled here ({first_line(error)[:300]}), expected a "
            f"compiler that works; leave the flag out",
            code="compilation-unavailable",
        ) from error


def program_backend(
    path: Path, contract: Contract, layout: Layout, batch: int, *, compiled: bool
) -> OwnDims:
    """A `Backend` that runs a .pt2 on the CPU. compiled: it is AOTInductor's."""
    with quiet():
        load: Any = torch._inductor.aoti_load_package if compiled else torch.export.load
        loaded = load(str(path))
    program = loaded if compiled else loaded.module()

    def run(inputs: Sequence[NDArray[Any]]) -> FloatArray:
        with torch.no_grad():
            actions: FloatArray = program(*map(torch.from_numpy, inputs)).numpy()
        return actions

    return OwnDims(run, contract, layout, batch or None)
