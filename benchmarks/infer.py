"""How long one query of a policy takes, beside the plain path, in one run: one command, one table.

    python -m benchmarks.infer [--cameras 1,2,3] [--size 480x640] [--json FILE]

Random weights of upstream's sizes; a query has one observation of uint8 images, batch 1. Each round
asks every way once, so that a machine whose speed drifts gives fair ratios. Milliseconds, median
and 99th percentile over the rounds:
eager     `act.load_policy(...).predict`
compiled  the same with compile="on"
bf16      the same with precision="bf16", for processors that have its instructions
onnx      `act.load_policy` of the ONNX file that `export` writes, by onnxruntime on the CPU
server    `serve` on this machine's loopback, the whole round trip; `server overhead` is what of it
          was not the policy's (a small network shows it: --hidden_dim 32 --dim_feedforward 32)
plain     what upstream does (benchmarks/plain.py): floats made on the host, cameras through the
          backbone one by one, attention spelled out, every decoder layer computed
beside    --beside MODULE:FUNCTION, another implementation: FUNCTION(cameras, height, width) gives a
          function that is called with a state (14,) and images by name
"""

import argparse
import asyncio
import contextlib
import importlib
import json
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from websockets.sync.client import connect

from act import load_policy
from act.export.exporting import export
from act.export.flags import ExportFlags
from act.load.source import find_source
from act.load.torch_backend import network_of
from act.policies.flags import PolicyFlags
from act.policies.registry import Shapes, build_policy
from act.policies.statistics import save_stats
from act.policies.upstream_contract import Recorded, upstream_contract
from act.policies.weights import load_weights, save_weights
from act.processes.device import choose_device, device_section
from act.serve.access import access_of
from act.serve.flags import ServeFlags
from act.serve.server import PolicyServer
from act.serve.wire import pack, unpack
from benchmarks.plain import make_plain
from benchmarks.workload import DIMS, numbers
from job.machine import cpu_count
from job.output_names import CONTRACT

Images = Mapping[str, NDArray[np.uint8]]
Query = Callable[[NDArray[np.float32], Images], object]


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    found = device_section(choose_device(asked.device))
    print(
        f"{found.name}, {cpu_count()} cores, torch {torch.__version__}, "
        f"hidden {asked.hidden_dim}, feed-forward {asked.dim_feedforward}, "
        f"chunk {asked.chunk_size}, images {asked.size[0]}x{asked.size[1]}"
    )
    rows = []
    for cameras in asked.cameras:
        with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as closing:
            folder = _write_policy(Path(made, "bench"), cameras, asked)
            milliseconds = _measured(_ways(folder, cameras, asked, closing), cameras, asked)
        rows.append({"cameras": cameras, "milliseconds": milliseconds})
        _print(cameras, milliseconds)
        asked.json.write_text(json.dumps({"device": found.model_dump(), "rows": rows}, indent=2))
    print(f"\nall figures of every round: {asked.json}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", type=numbers, default=(1, 2, 3))
    parser.add_argument("--size", type=lambda text: numbers(text, "x"), default=(480, 640))
    parser.add_argument("--hidden_dim", type=int, default=512)
    parser.add_argument("--dim_feedforward", type=int, default=3200)
    parser.add_argument("--chunk_size", type=int, default=100)
    parser.add_argument("--ways", type=lambda text: text.split(","), default=list(_WAYS))
    parser.add_argument("--beside", help="MODULE:FUNCTION")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, default="benchmark_infer.json")
    return parser.parse_args()


def _write_policy(folder: Path, cameras: int, asked: argparse.Namespace) -> Path:
    """A run's folder: weights, statistics, contract."""
    flags = PolicyFlags(
        chunk_size=asked.chunk_size,
        hidden_dim=asked.hidden_dim,
        dim_feedforward=asked.dim_feedforward,
    )
    policy = build_policy(flags, Shapes(DIMS, DIMS, cameras, asked.size))
    folder.mkdir()
    save_weights(folder / "policy_best.ckpt", policy.state_dict())
    one = {"mean": np.zeros(DIMS, np.float32), "std": np.ones(DIMS, np.float32)}
    stats = {
        f"{name}_{what}": values for name in ("action", "qpos") for what, values in one.items()
    }
    save_stats(folder, stats | {"example_qpos": np.zeros((2, DIMS), np.float32)})
    recorded = Recorded(
        camera_names=_names(cameras), image_size=asked.size, fps=50.0, first_offset=0
    )
    contract = upstream_contract(folder, recorded)
    (folder / CONTRACT).write_text(contract.model_dump_json())
    return folder


def _names(cameras: int) -> tuple[str, ...]:
    return tuple(f"camera_{number}" for number in range(cameras))


def _ways(
    folder: Path, cameras: int, asked: argparse.Namespace, closing: contextlib.ExitStack
) -> dict[str, Query]:
    ways = {name: _WAYS[name](folder, asked, closing) for name in asked.ways}
    if asked.beside:
        module, _, function = asked.beside.partition(":")
        other = getattr(importlib.import_module(module), function)
        ways["beside"] = other(_names(cameras), *asked.size)
    return ways


def _eager(folder: Path, asked: argparse.Namespace, _: contextlib.ExitStack) -> Query:
    return load_policy(folder, device=asked.device).predict


def _compiled(folder: Path, asked: argparse.Namespace, _: contextlib.ExitStack) -> Query:
    return load_policy(folder, device=asked.device, compile="on").predict


def _bf16(folder: Path, asked: argparse.Namespace, _: contextlib.ExitStack) -> Query:
    return load_policy(folder, device=asked.device, precision="bf16").predict


def _onnx(folder: Path, asked: argparse.Namespace, _: contextlib.ExitStack) -> Query:
    made = export(ExportFlags(format="onnx", observations=1, batch=1), folder, lambda *_: None)
    return load_policy(made).predict


def _server(folder: Path, asked: argparse.Namespace, closing: contextlib.ExitStack) -> Query:
    policy = load_policy(folder, device=asked.device)
    port = closing.enter_context(_served(policy))
    client = closing.enter_context(
        connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None)
    )
    client.recv()  # its metadata

    def query(state: NDArray[np.float32], images: Images) -> object:
        client.send(pack({"state": state, "images": dict(images)}))
        answer = client.recv()
        assert isinstance(answer, bytes), answer
        return unpack(answer)["server_timing"]["infer_ms"]

    return query


@contextlib.contextmanager
def _served(policy: Any) -> Iterator[int]:
    """The port of a server in this process."""
    flags = ServeFlags(port=0)
    server, opened = PolicyServer(policy, flags, access_of(flags, {})), queue.Queue[int]()
    ended = threading.Event()
    running = server.run(opened.put, lambda: "measured" if ended.is_set() else None)
    thread = threading.Thread(target=lambda: asyncio.run(running))
    thread.start()
    try:
        yield opened.get()
    finally:
        ended.set()
        thread.join()


def _plain(folder: Path, asked: argparse.Namespace, _: contextlib.ExitStack) -> Query:
    source, device = find_source(folder), choose_device(asked.device)
    policy = network_of(source.contract)
    policy.load_state_dict(load_weights(source.checkpoint), assign=True)
    policy = make_plain(policy).to(device).eval()
    stats = {
        name: np.array(values, np.float32)
        for name, values in source.contract.statistics.model_dump().items()
        if values is not None
    }

    @torch.inference_mode()
    def query(state: NDArray[np.float32], images: Images) -> object:
        qpos = torch.from_numpy((state - stats["qpos_mean"]) / stats["qpos_std"])
        stacked = np.stack([np.moveaxis(frame, -1, 0) for frame in images.values()])
        image = torch.from_numpy(stacked / 255.0).float().to(device)
        a_hat = policy(qpos.to(device)[None], image[None])
        return a_hat.cpu().numpy() * stats["action_std"] + stats["action_mean"]

    return query


_WAYS: dict[str, Callable[[Path, argparse.Namespace, contextlib.ExitStack], Query]] = {
    "eager": _eager,
    "compiled": _compiled,
    "bf16": _bf16,
    "onnx": _onnx,
    "server": _server,
    "plain": _plain,
}


def _measured(
    ways: Mapping[str, Query], cameras: int, asked: argparse.Namespace
) -> dict[str, list[float]]:
    """Milliseconds of each round of each way; the first query of each is not counted."""
    random = np.random.default_rng(0)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(asked.rounds + 1):
        state = random.standard_normal(DIMS, np.float32)
        images = {
            name: random.integers(0, 256, (*asked.size, 3), np.uint8) for name in _names(cameras)
        }
        for name, query in ways.items():
            started = time.perf_counter()
            answer = query(state, images)
            took_ms = 1000 * (time.perf_counter() - started)
            if number:
                found[name].append(took_ms)
            if number and name == "server":
                found.setdefault("server overhead", []).append(took_ms - float(str(answer)))
    return found


def _print(cameras: int, milliseconds: Mapping[str, list[float]]) -> None:
    print(f"\n{cameras} camera{'s' if cameras > 1 else ''}")
    eager = milliseconds.get("eager")
    for name, values in milliseconds.items():
        beside = ""
        if eager:
            ratio = statistics.median(b / a for a, b in zip(eager, values, strict=True))
            beside = f"   {ratio:5.2f} x eager"
        print(
            f"  {name:10} median {statistics.median(values):8.1f} ms   "
            f"99th percentile {np.percentile(values, 99):8.1f} ms{beside}"
        )


if __name__ == "__main__":
    main()
