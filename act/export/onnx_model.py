"""The graph as an ONNX file, in fp32, fp16 or int8, with the contract in its metadata."""

import re
from pathlib import Path
from typing import Any

import torch

from act.export.graph import inputs_of
from act.load.onnx_backend import CONTRACT_KEY, LAYOUT_KEY
from act.load.own_dims import Layout
from act.load.packages import needed, quiet
from job.errors import JobError, UsageError, first_line
from job.sections.contract import Contract

_TOP = "lerobot_to_act"
_BATCH = "batch"  # as the manifest of the export names the axis


def write_onnx(
    program: torch.export.ExportedProgram,
    path: Path,
    contract: Contract,
    *,
    layout: Layout,
    opset: int,
) -> None:
    """Write an exported graph as ONNX, fp32; raises UsageError without the packages for it."""
    for package in ("onnx", "onnxscript"):
        needed(package)
    names = [one.name for one in inputs_of(contract, layout, 0)]
    try:
        _write(program, path, names, opset)
        _describe(path, contract, layout)
    except (JobError, OSError):
        raise
    except Exception as error:  # whatever an exporter may stumble over
        raise UsageError(
            f"--opset {opset}: the policy cannot be written in it ({first_line(error)[:300]}), "
            f"expected one that these versions of torch and onnx know; leave the flag out",
            code="export-unrepresentable",
        ) from error


def _write(program: torch.export.ExportedProgram, path: Path, names: list[str], opset: int) -> None:
    with quiet():
        made = torch.onnx.export(
            program,
            input_names=names,
            output_names=["actions"],
            opset_version=opset,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert made is not None, "no file was given"
        made.save(str(path))


def write_fp16(fp32: Path, path: Path, contract: Contract, layout: Layout) -> None:
    """The same graph in half precision; inputs and outputs stay as they are."""
    onnx = needed("onnx")
    float16 = needed("onnxruntime.transformers.float16")
    with quiet():
        converted = float16.convert_float_to_float16(onnx.load(fp32), keep_io_types=True)
        sorted_model = needed("onnxruntime.transformers.onnx_model").OnnxModel(converted)
        sorted_model.topological_sort()  # the converter puts its casts at the end
        onnx.save(sorted_model.model, path)
    _describe(path, contract, layout)


def write_int8(fp32: Path, path: Path, contract: Contract, layout: Layout) -> None:
    """The same graph with the weights of matrix products in int8, a scale for each channel.

    Convolutions stay: in int8 they lose fifty times as much (0.04, not 0.0008, of a tiny one). The
    weights have seven bits: with eight, the 16-bit sums of a processor without VNNI saturate
    (0.22 of a standard deviation instead of 0.01, on AVX2).
    """
    quantization = needed("onnxruntime.quantization")
    with quiet():
        quantization.quantize_dynamic(
            fp32,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
    _describe(path, contract, layout)


def _describe(path: Path, contract: Contract, layout: Layout) -> None:
    """Put into the metadata what a reader needs."""
    onnx = needed("onnx")
    model: Any = onnx.load(path)
    del model.metadata_props[:]
    model.producer_name = _TOP
    model.doc_string = "Policy of lerobot-to-act; its contract is in the metadata."
    said = {CONTRACT_KEY: contract.model_dump_json(), LAYOUT_KEY: layout}
    onnx.helper.set_model_props(model, said)
    _name_batch(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _name_batch(graph: Any) -> None:
    """Call the axis of any length `batch`, where the exporter calls it s39 or the like."""
    name = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    if not name:
        return  # it has a fixed length
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(rf"\b{re.escape(name)}\b", _BATCH, axis.dim_param)
