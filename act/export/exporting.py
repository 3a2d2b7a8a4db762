"""`export`: a checkpoint becomes a policy in another format, compared with it before it is left.

The files are made in a scratch folder and compared there. Then the export's folder loses its
manifest, gets the files, each whole, and the new manifest last: with a manifest it is complete.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from act.export import onnx_model
from act.export.flags import ExportFlags
from act.export.graph import Graph, inputs_of, output_of
from act.export.importing import write_checkpoint
from act.export.lerobot_folder import FOLDER, notes, refuse_unrepresentable, write_lerobot
from act.export.lerobot_import import read_lerobot
from act.export.lerobot_layout import lerobots
from act.export.lerobot_run import run_lerobot, with_own_dims
from act.export.observations import Observations, random_observations, recorded_observations
from act.export.parity import Reference, actions_of, compared, reference_actions
from act.export.publishing import publish, refuse_link
from act.export.torch_program import (
    PACKAGE,
    PROGRAM,
    compile_package,
    program_backend,
    program_of,
    save_program,
)
from act.load.loading import ComputeOptions
from act.load.onnx_backend import ONNX_FILE, OnnxBackend
from act.load.own_dims import Layout
from act.load.packages import needed
from act.load.source import Source, find_source
from act.load.torch_backend import TorchBackend
from episodes.episode_set import Episodes
from job import signals
from job.lock import only_job
from job.manifest import now, versions
from job.output_names import CONTRACT
from job.sections.contract import Camera, Contract
from job.sections.export import EXPORT_VERSION, Export, ImageSupply, NumberFormat, Origin, Parity
from job.sections.whole import Artifact
from job.version import commit
from job.whole_files import output_errors, sha256

logger = logging.getLogger("act")

EXPORTS = "export"  # in a run's folder
CPU = ComputeOptions(device="cpu", precision="fp32", compile="off")
_PACKAGES = ("torchvision", "numpy", "onnx", "onnxruntime", "onnxscript", "safetensors")

# The episodes to compare on, read from a run's input with the help of a scratch folder, and what
# they are; None where the input is not there. Who can read recordings is not a part of this room.
ReadEpisodes = Callable[[Source, Path], tuple[Episodes, str] | None]


@dataclass(frozen=True)
class _Made:
    """What a format's writer leaves in the scratch folder."""

    files: Sequence[Path]
    parity: Sequence[Parity]


def export(flags: ExportFlags, run: str | Path, read_episodes: ReadEpisodes) -> Path:
    """Export a run as the flags say; returns the folder of the export.

    run: a run's name, the path of its folder, or that of a .ckpt
    Raises UsageError for what cannot be exported or is inexact, OutputError for the disk.
    """
    chosen = None if flags.checkpoint == "auto" else flags.checkpoint
    source = find_source(run, chosen, flags.output)
    if flags.format == "lerobot":
        refuse_unrepresentable(source.contract)
    folder = source.checkpoint.parent / EXPORTS / flags.format
    refuse_link(folder)
    scratch = folder.with_name(f".{flags.format}.partial")
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with only_job(folder):
        try:
            with output_errors(scratch):
                shutil.rmtree(scratch, ignore_errors=True)  # what a kill has left
                scratch.mkdir()
            observations = _observations(flags, source, read_episodes, scratch / "episodes")
            reference = reference_actions(
                source.contract,
                observations,
                TorchBackend(source, CPU),
                "the checkpoint's network: torch, eager, fp32, on the CPU",
            )
            made = _WRITERS[flags.format](flags, source, reference, scratch)
            signals.check()
            manifest = _manifest(flags, source, scratch, made)
            publish(folder, scratch, made.files, manifest)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    _report(folder, manifest)
    return folder


def _observations(
    flags: ExportFlags, source: Source, read_episodes: ReadEpisodes, scratch: Path
) -> Observations:
    found = read_episodes(source, scratch)
    if found is None:
        logger.info("compare    on random observations: the run's dataset is not there")
        return random_observations(source.contract, flags.observations)
    return recorded_observations(found[0], source.contract, flags.observations, found[1])


def _write_lerobot(
    flags: ExportFlags, source: Source, reference: Reference, scratch: Path
) -> _Made:
    contract, observations = source.contract, reference.observations
    files = write_lerobot(source, scratch)
    folder = scratch / FOLDER
    read_back = write_checkpoint(read_lerobot(folder), scratch / "read_back")
    backend = with_own_dims(TorchBackend(read_back, CPU), contract)
    actions = actions_of(contract, observations, backend)
    parity = [compared(contract, reference, actions, "the folder, read back by this project")]
    if flags.lerobot_python is not None:
        place = scratch / "lerobot_run"
        actions, ran_in = run_lerobot(flags.lerobot_python, folder, contract, observations, place)
        parity.append(compared(contract, reference, actions, ran_in))
    return _Made(files, parity)


def _write_onnx(flags: ExportFlags, source: Source, reference: Reference, scratch: Path) -> _Made:
    contract, layout = source.contract, _layout(flags)
    needed("onnxruntime")
    program = program_of(Graph(source, layout), contract, layout, flags.batch)
    fp32, file = scratch / "fp32.onnx", scratch / ONNX_FILE
    onnx_model.write_onnx(program, fp32, contract, layout=layout, opset=flags.opset)
    ran_in = f"onnxruntime {version('onnxruntime')}, CPU"
    actions = actions_of(contract, reference.observations, OnnxBackend(fp32))
    parity = [compared(contract, reference, actions, ran_in)]
    if flags.number_format == "fp32":
        fp32.rename(file)
        return _Made([file], parity)
    number_format = _number_format(flags)
    convert = {"fp16": onnx_model.write_fp16, "int8": onnx_model.write_int8}[number_format]
    convert(fp32, file, contract, layout)
    actions = actions_of(contract, reference.observations, OnnxBackend(file))
    less = compared(
        contract,
        reference,
        actions,
        ran_in,
        number_format=number_format,
        bound=flags.max_error,
    )
    return _Made([file], [*parity, less])


def _write_program(
    flags: ExportFlags, source: Source, reference: Reference, scratch: Path
) -> _Made:
    contract, layout = source.contract, _layout(flags)
    program = program_of(Graph(source, layout), contract, layout, flags.batch)
    file, package = scratch / PROGRAM, scratch / PACKAGE
    save_program(program, file)
    made = {file: f"torch.export.load, torch {version('torch')}, CPU"}
    if flags.aot_inductor:
        compile_package(program, package)
        made[package] = f"AOTInductor, torch {version('torch')}, CPU"
    parity = []
    for path, ran_in in made.items():
        backend = program_backend(path, contract, layout, flags.batch, compiled=path == package)
        actions = actions_of(contract, reference.observations, backend)
        parity.append(compared(contract, reference, actions, ran_in))
    return _Made(list(made), parity)


def _layout(flags: ExportFlags) -> Layout:
    return "chw" if flags.layout == "chw" else "hwc"


def _number_format(flags: ExportFlags) -> NumberFormat:
    found: dict[str, NumberFormat] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}
    return found[flags.number_format]


_WRITERS = {"lerobot": _write_lerobot, "onnx": _write_onnx, "torch_export": _write_program}


def _manifest(flags: ExportFlags, source: Source, scratch: Path, made: _Made) -> Export:
    contract, is_lerobot = source.contract, flags.format == "lerobot"
    formats: dict[str, Any] = {"format": flags.format}
    layout: Layout = "chw" if is_lerobot else _layout(flags)
    batch = 0 if is_lerobot else flags.batch
    inputs = inputs_of(contract, layout, batch)
    output = output_of(contract, batch)
    return Export(
        schema_version=EXPORT_VERSION,
        **formats,
        created_at=now(),
        flags=flags.resolved(),
        origin=Origin(
            folder=str(source.checkpoint.parent),
            file=source.checkpoint.name,
            sha256=source.sha256,
            contract_sha256=sha256(source.checkpoint.parent / CONTRACT),
        ),
        number_format=_number_format(flags),
        opset=flags.opset if flags.format == "onnx" else None,
        inputs=lerobots(contract, inputs) if is_lerobot else inputs,
        outputs=lerobots(contract, [output]) if is_lerobot else [output],
        images=_images(contract) if contract.cameras else None,
        fps=contract.fps,
        first_offset=contract.action.first_offset,
        notes=notes(contract) if is_lerobot else [],
        parity=list(made.parity),
        versions=versions(_PACKAGES),
        commit=commit(),
        artifacts=[
            Artifact(
                path=path.relative_to(scratch).as_posix(),
                size_bytes=path.stat().st_size,
                sha256=sha256(path),
            )
            for path in made.files
        ],
    )


def _images(contract: Contract) -> ImageSupply:
    first = contract.cameras[0]
    turned = {camera.name: _turn(camera) for camera in contract.cameras if _turn(camera)}
    return ImageSupply(
        height=first.height,
        width=first.width,
        rule="Larger frames of the same shape were reduced by area in training: each pixel is the "
        "mean of those that it covers (OpenCV's INTER_AREA, torch's mode area). Nothing that was "
        "exported does so: reduce them so before, or set the camera to this size.",
        turned=turned,
    )


def _turn(camera: Camera) -> str:
    said = ["mirrored left to right"] if camera.mirrored else []
    if camera.rotated:
        said.append(f"rotated by {camera.rotated} degrees counterclockwise")
    return ", then ".join(said)


def _report(folder: Path, manifest: Export) -> None:
    for parity in manifest.parity:
        logger.info(
            "parity     %s in %s: at most %.3g, on average %.3g (dataset's units), %.2g of a "
            "dim's standard deviation; %d observations, %s",
            *(parity.number_format, parity.ran_in, parity.largest, parity.mean),
            *(parity.largest_in_std, parity.observations, parity.source),
        )
    for name, turn in (manifest.images.turned if manifest.images else {}).items():
        logger.warning("the frames of camera %s must be %s before the policy sees them", name, turn)
    if manifest.images:
        size = manifest.images.height, manifest.images.width
        logger.info("images     %dx%d (height x width): the export itself resizes none", *size)
    logger.info("done       %s", folder)
