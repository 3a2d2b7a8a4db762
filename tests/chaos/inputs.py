"""Mutated input: each ends in success or one of our errors, in time, within memory, in its place.

A case is a number: it chooses a real file, what is done to it, and where. So every finding can be
had again: python -m tests.chaos.inputs NUMBER…
"""

import atexit
import contextlib
import json
import logging
import multiprocessing
import random
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch

from act.policies.statistics import load_stats, norm_stats, save_stats
from act.policies.weights import load_weights, save
from act.training.best import Best
from act.training.progress import Progress
from act.training.state import Stateful, load_state, parse_state, state_of
from convert.check.dataset import check
from convert.episodes import convert_episodes
from convert.plan import make_plan
from episodes.episode_set import open_episodes
from episodes.frames import FrameStore
from episodes.own_process import try_episode
from job.errors import JobError
from job.machine import cpu_count
from lerobot_to_act import JobFlags
from tests.chaos.small_job import Lost, Results
from tests.support.commands import make_config
from tests.support.paths import SMALL

TIME_LIMIT_S = 30
_MEMORY_BYTES = 2 << 30
DATASETS = ("v21_h264", "v30_h264", "v21_image", "v30_hevc", "v21_av1")
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE)  # of a decoder
Apart = Callable[[bool], None]
_SUFFIXES = (".json", ".jsonl", ".parquet", ".mp4")


def inputs(numbers: Sequence[int]) -> Results:
    """Try the cases on every core; gives what went wrong with each, None for nothing."""
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for _ in range(cpu_count()):
        idle.put(_Worker())

    def tried(number: int) -> str | None:
        worker = idle.get()
        try:
            found = worker.result(number)
        finally:
            idle.put(worker)
        return None if found is None else f"input {number}: {found}"

    pool = ThreadPoolExecutor(cpu_count())
    try:
        yield from pool.map(tried, numbers)
    finally:
        pool.shutdown(cancel_futures=True)
        for _ in range(cpu_count()):
            idle.get().end()


class _Worker:
    """A process that tries cases: one that crashes or hangs is replaced."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it has imported everything

    def result(self, number: int) -> str | None:
        """What went wrong with a case."""
        self._pipe.send(number)
        what = f"hangs for more than {TIME_LIMIT_S} s"
        apart = False
        try:
            while self._pipe.poll(TIME_LIMIT_S):
                found: bool | str | None = self._pipe.recv()
                if found is None:
                    return None
                if isinstance(found, str):
                    what = found
                    break
                apart = found
        except EOFError:
            self._process.join()
            code = self._process.exitcode or 0
            # in a job it takes down one worker, which is reported with the file's name
            what = "" if apart and -code in _CRASHES else f"ended the process ({code})"
        self.end()
        self._start()
        return what or None

    def end(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection) -> None:
    logging.getLogger("act").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with contextlib.suppress(EOFError), tempfile.TemporaryDirectory() as folder:
        pipe.send("ready")
        while True:
            number = pipe.recv()
            place = Path(folder) / "case"
            place.mkdir()
            try:
                try_case(number, place, pipe.send)
                pipe.send(None)
            except Exception as error:
                pipe.send(f"{type(error).__name__}: {error}")
                return  # what it took of memory would count against the next
            finally:
                shutil.rmtree(place)


def try_case(number: int, place: Path, apart: Apart = lambda _: None) -> None:
    """Mutate and read one file; raises Lost, or whatever escapes our code.

    apart: told whether a job does what follows in a process that may crash
    """
    chance, kind = _kind(number)
    before = _tree(SMALL)
    kind(chance, place, apart)
    if _tree(SMALL) != before:
        raise Lost("the input was written to")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    if peak > _MEMORY_BYTES:
        raise Lost(f"took {peak / 1e9:.1f} GB")


def _kind(number: int) -> tuple[random.Random, Callable[[random.Random, Path, Apart], None]]:
    chance = random.Random(number)
    return chance, chance.choice([_dataset] * 7 + [_episode, _state, _weights, _stats])


def _dataset(chance: random.Random, place: Path, apart: Apart) -> None:
    apart(True)
    root = place / "input"
    shutil.copytree(SMALL / chance.choice(DATASETS), root)
    files = sorted(path for path in root.rglob("*") if path.suffix in _SUFFIXES)
    path = chance.choice(files)
    path.write_bytes(mutated(chance, path))
    before = _tree(root)
    with _refused():
        for finding in check(root).findings:
            if "\n" in finding.message:
                raise Lost(f"a message of several lines: {finding.message!r}")
    with _refused():
        config: JobFlags = make_config(place / "output", input=root, image_size="24x32")
        plan = make_plan(config, place / "output")
        (place / "output").mkdir(exist_ok=True)
        convert_episodes((plan, list(range(len(plan.sources)))), lambda _: None)
    if _tree(root) != before:
        raise Lost("the input was written to")
    outside = {path.name for path in place.iterdir()} - {"input", "output"}
    if outside:
        raise Lost(f"written outside the output folder: {outside}")


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """An error of ours is as good as success; it must be one line."""
    try:
        yield
    except JobError as error:
        if "\n" in str(error) or not str(error):
            raise Lost(f"not one line: {error!r}") from error


def _episode(chance: random.Random, place: Path, apart: Apart) -> None:
    path = place / "episode_0.hdf5"
    shutil.copy(_originals() / chance.choice(["episode_0.hdf5", "jpeg/episode_0.hdf5"]), path)
    path.write_bytes(mutated(chance, path))
    with _refused():
        apart(True)
        try_episode(path)
        apart(False)
        episodes = open_episodes([path])
        norm_stats(episodes)
        store = FrameStore(episodes)
        image = np.empty((1, *store.shape), np.uint8)
        for ts in range(episodes.lengths[0]):
            store.copy_into(np.array([0]), np.array([ts]), image)
        store.close()


def _state(chance: random.Random, place: Path, _: Apart) -> None:
    with _refused():
        state = parse_state(mutated(chance, _originals() / "state.ckpt"), place)
        load_state(state, _owners({}), place)


def _weights(chance: random.Random, place: Path, _: Apart) -> None:
    (place / "weights").write_bytes(mutated(chance, _originals() / "policy_best.ckpt"))
    with _refused():
        load_weights(place / "weights")


def _stats(chance: random.Random, place: Path, _: Apart) -> None:
    (place / "stats").write_bytes(mutated(chance, _originals() / "dataset_stats.pkl"))
    with _refused():
        load_stats(place / "stats")


@cache
def _originals() -> Path:
    """An episode, a state, weights and statistics, whole."""
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place)
    config = make_config(place, input=SMALL / "v21_h264", image_size="24x32")
    plan = make_plan(config, place)
    convert_episodes((plan, [0]), lambda _: None)
    (place / "jpeg").mkdir()
    packed = replace(plan, folder=place / "jpeg", jpeg_quality=50)
    convert_episodes((packed, [0]), lambda _: None)
    weights = {f"layer.{n}": torch.randn(3, 5) for n in range(8)}
    save(place / "policy_best.ckpt", weights)
    save_stats(place, norm_stats(open_episodes([place / "episode_0.hdf5"])))
    save(place / "state.ckpt", state_of(_owners(weights)))
    return place


def _owners(weights: dict[str, torch.Tensor]) -> dict[str, Stateful]:
    """Of a state like a run's, with a step behind it."""
    layer, best, progress = torch.nn.Linear(5, 3), Best(Path("best")), Progress(torch.device("cpu"))
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(5)).sum().backward()
    optimizer.step()
    best.offer(0, 1.0, weights)
    progress.val = {"loss": 1.0}
    progress.add_step(4, torch.ones(3), torch.ones(()))
    return {"policy": layer, "optimizer": optimizer, "progress": progress, "best": best}


def mutated(chance: random.Random, path: Path) -> bytes:
    """The bytes of a file with something done to them."""
    if path.suffix in (".json", ".jsonl") and chance.random() < 0.5:
        with contextlib.suppress(ValueError):
            return _other_json(chance, path.read_text())
    content = bytearray(path.read_bytes())
    change = chance.choice([_flip, _flip, _cut, _zero, _repeat, _insert])
    for _ in range(chance.choice([1, 1, 1, 4, 32])):
        change(chance, content)
    return bytes(content)


def _place(chance: random.Random, content: bytearray) -> int:
    """Anywhere, but the head and the tail, where formats keep their structure, more often."""
    size = max(1, len(content))
    edge = min(size, 512)
    return chance.choice(
        [chance.randrange(size), chance.randrange(edge), size - 1 - chance.randrange(edge)]
    )


def _flip(chance: random.Random, content: bytearray) -> None:
    if content:
        content[_place(chance, content)] = chance.choice(
            [0, 1, 127, 128, 255, chance.randrange(256)]
        )


def _cut(chance: random.Random, content: bytearray) -> None:
    del content[_place(chance, content) :]


def _zero(chance: random.Random, content: bytearray) -> None:
    first = _place(chance, content)
    length = min(chance.choice([4, 64, 4096]), len(content) - first)
    content[first : first + length] = bytes(max(0, length))


def _repeat(chance: random.Random, content: bytearray) -> None:
    first = _place(chance, content)
    content[first:first] = content[first : first + chance.choice([1, 16, 1024])]


def _insert(chance: random.Random, content: bytearray) -> None:
    first = _place(chance, content)
    content[first:first] = chance.randbytes(chance.choice([1, 8, 256]))


_ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    1 << 31,
    1 << 63,
    1e308,
    -0.5,
    "",
    "..",
    "../../../etc/passwd",
    "/etc/passwd",
    "{0.__class__}",
    "{episode_index}",
    "{chunk_index:9999999999d}",
    "\x00",
    "\ud800",
    "a\nb",
    [],
    {},
    [[[[]]]],
    ["x"] * 1000,
    {"x": {}},
    "v9.9",
    "float128",
    [0],
    [1 << 40, 1 << 40],
    "é" * 300,
)


def _other_json(chance: random.Random, text: str) -> bytes:
    lines = text.splitlines() if "\n{" in text.strip() else [text]
    number = chance.randrange(len(lines))
    value = json.loads(lines[number])
    holder, key = _spot(chance, value)
    if holder is not None:
        if chance.random() < 0.15:
            del holder[key]
        else:
            holder[key] = chance.choice(_ODD)
    lines[number] = json.dumps(value)
    return "\n".join(lines).encode()


def _spot(chance: random.Random, value: Any) -> tuple[Any, Any]:
    """A random place in nested JSON: what holds it, and under which key."""
    spots: list[tuple[Any, Any]] = []

    def walk(inner: Any) -> None:
        if isinstance(inner, dict | list):
            for key in inner if isinstance(inner, dict) else range(len(inner)):
                spots.append((inner, key))
                walk(inner[key])

    walk(value)
    return chance.choice(spots) if spots else (None, None)


def _tree(root: Path) -> list[tuple[str, int, int]]:
    paths = sorted(root.rglob("*"))
    return [(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths]


if __name__ == "__main__":
    for word in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            try_case(int(word), Path(scratch))
