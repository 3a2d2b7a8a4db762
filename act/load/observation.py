"""What a policy is given, checked as its contract has it and brought to what training gave it.

B batch   C cameras   H, W pixels   Q state dims   E environment state dims
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act.load.own_dims import own_dims
from episodes.arrays import FloatArray, Frame
from episodes.resize import resize_area
from job.errors import UsageError
from job.sections.contract import Camera, Contract, Vector
from job.words import nearest

Size = tuple[int, int]  # height and width in pixels
_CHANNELS = 3
NO_ARRAY: NDArray[Any] = np.empty(0, object)


@dataclass(frozen=True)
class Observation:
    """What was given, known to be right; the frames are not reduced yet."""

    state: FloatArray  # (B, Q) in the dataset's units, padding included
    env_state: FloatArray | None  # (B, E)
    frames: tuple[Frame, ...]  # of each camera of the policy, in its order: (B, H, W, 3)
    is_batch: bool  # False: it was given without the batch axis


class Observer:
    """Takes observations for the policy of a contract."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._cameras = {camera.name: camera for camera in contract.cameras}

    @property
    def cameras(self) -> tuple[str, ...]:
        """The names of the policy's cameras, in its order."""
        return tuple(self._cameras)

    def observation(
        self, state: Any, images: Mapping[str, Any] | None = None, env_state: Any = None
    ) -> Observation:
        """Check what a robot gives; raises UsageError in one line, with a code for each reason.

        state: (Q,) or (B, Q), in the dataset's dims and units; NumPy, torch, or a sequence
        images: by camera, (H, W, 3) or (B, H, W, 3) uint8 RGB, or floats in 0 to 1; NumPy, torch,
            PIL, or a sequence of those
        env_state: (E,) or (B, E)
        """
        contract = self._contract
        images = {} if images is None else images
        self._check_names(images)
        vector = _vector("state", state, contract.state)
        if (env_state is None) != (contract.env_state is None):
            found = "none is given" if env_state is None else "one is given"
            expected = "one" if contract.env_state else "none, as the policy observes none"
            raise UsageError(
                f"env_state: {found}, expected {expected}", code="observation-env-state"
            )
        environment = None
        if contract.env_state is not None:
            environment = _vector("env_state", env_state, contract.env_state)
        frames = [_frames(name, images[name]) for name in self._cameras]
        given: list[NDArray[Any]] = [vector, *frames]
        axes = [vector.ndim - 1, *(one.ndim - 3 for one in frames)]
        if environment is not None:
            given.append(environment)
            axes.append(environment.ndim - 1)
        if len({*axes}) > 1 or (axes[0] and len({len(one) for one in given}) > 1):
            raise UsageError(
                f"the parts of the observation are {[one.shape for one in given]}, expected one of "
                f"each, or the same number of each in a batch",
                code="observation-batch",
            )
        is_batch = bool(axes[0])
        if not is_batch:
            vector, frames = vector[None], [one[None] for one in frames]
            environment = None if environment is None else environment[None]
        for camera, one in zip(self._cameras.values(), frames, strict=True):
            _check_size(camera, (one.shape[1], one.shape[2]))
        return Observation(vector, environment, tuple(frames), is_batch)

    def images(self, observation: Observation) -> Frame | None:
        """The frames as training saw them: (B, C, H, W, 3) uint8; None where there is no camera."""
        cameras = self._contract.cameras
        if not cameras:
            return None
        size = (cameras[0].height, cameras[0].width)
        made = np.empty((len(observation.state), len(cameras), *size, _CHANNELS), np.uint8)
        for place, (camera, frames) in enumerate(zip(cameras, observation.frames, strict=True)):
            for row, frame in enumerate(frames):
                made[row, place] = resize_area(turned(camera, frame), *size)
        return made

    def _check_names(self, images: Any) -> None:
        names = list(self._cameras)
        if not isinstance(images, Mapping):
            raise UsageError(
                f"images: is a {type(images).__name__}, expected one image by the name of each of "
                f"{names}",
                code="observation-camera-missing",
            )
        given = list(images)
        missing = [name for name in names if name not in given]
        extra = [name for name in given if name not in names]
        if extra and missing:
            raise UsageError(
                f"images: the policy has no camera {extra[0]!r}, expected {names}"
                f"{nearest(str(extra[0]), missing, 'camera')}",
                code="observation-camera-unknown",
            )
        if missing:
            raise UsageError(
                f"images: the camera {missing[0]!r} is missing, found {given or 'none'}, expected "
                f"{names}",
                code="observation-camera-missing",
            )
        if extra:
            raise UsageError(
                f"images: {extra[0]!r} is a camera too many, expected {names or 'none'}; leave it "
                f"out, as the policy does not see it",
                code="observation-camera-extra",
            )


def turned(camera: Camera, frame: Frame) -> Frame:
    """A frame (H, W, 3) mirrored and rotated as training did with the recorded ones."""
    if camera.mirrored:
        frame = frame[:, ::-1]
    return np.ascontiguousarray(np.rot90(frame, camera.rotated // 90))


def names_of(vector: Vector) -> tuple[str, ...] | None:
    """The names of the dims that the dataset has; None where it does not give them."""
    names = [dim.name for dim in own_dims(vector)]
    known = [name for name in names if name is not None]
    return tuple(known) if len(known) == len(names) else None


def _vector(what: str, given: Any, expected: Vector) -> FloatArray:
    """A vector (Q,) or (B, Q) of the policy, from one of the dataset's width."""
    values = array_of(given)
    if values.dtype.kind not in "fiu":
        raise UsageError(
            f"{what}: is {_kind(given, values)}, expected numbers, in the order of the policy's "
            f"{what}_names",
            code="observation-vector-type",
        )
    own = len(own_dims(expected))
    recorded = own + len(expected.cut)
    if values.ndim not in (1, 2) or values.shape[-1] not in (own, recorded):
        names = names_of(expected)
        known = f": {', '.join(names)}" if names else ""
        cut = f", or {recorded} with those that were cut away" if expected.cut else ""
        raise UsageError(
            f"{what}: its shape is {values.shape}, expected {own} dims{cut}, or a batch of "
            f"them{known}",
            code="observation-vector-width",
        )
    made = np.zeros((*values.shape[:-1], len(expected.dims)), np.float32)  # what is padded is 0
    with np.errstate(over="ignore", invalid="ignore"):
        made[..., :own] = values[..., :own]
    bad = np.argwhere(~np.isfinite(made))
    if len(bad):
        dim = int(bad[0][-1])
        raise UsageError(
            f"{what}: dim {dim} ({expected.dims[dim].name or 'no name'}) is "
            f"{values[tuple(bad[0])]}, expected a finite number",
            code="observation-not-finite",
        )
    return made


def _kind(given: Any, values: NDArray[Any]) -> str:
    return f"a {type(given).__name__}" if values.dtype.kind == "O" else str(values.dtype)


def _frames(name: str, given: Any) -> Frame:
    """Frames (H, W, 3) or (B, H, W, 3) uint8, of any kind that is taken."""
    mode = getattr(given, "mode", "RGB")  # of PIL
    if isinstance(mode, str) and mode != "RGB":
        raise UsageError(
            f"images: {name!r} is a PIL image of mode {mode}, expected RGB; give "
            f"image.convert('RGB')",
            code="observation-image-channels",
        )
    values = array_of(given)
    if values is NO_ARRAY:
        raise UsageError(
            f"images: {name!r} is a {type(given).__name__} that makes no array, expected NumPy "
            f"(without a mask), torch (not sparse) or PIL, or a sequence of those of one size",
            code="observation-image-type",
        )
    _check_layout(name, values)
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind != "f":
        raise UsageError(
            f"images: {name!r} is {values.dtype}, expected uint8, or floats in 0 to 1",
            code="observation-image-type",
        )
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN is the least and the greatest
        raise UsageError(
            f"images: {name!r} holds a value that is no finite number, expected 0 to 1, or uint8; "
            f"look at what reads the camera",
            code="observation-not-finite",
        )
    if low < 0 or high > 1:
        of_bytes = low >= 0 and high > 2
        advice = (
            "if its values are 0 to 255, give image.astype('uint8')"
            if of_bytes
            else ("clip it to that")
        )
        raise UsageError(
            f"images: {name!r} holds floats from {low:g} to {high:g}, expected 0 to 1, or uint8; "
            f"{advice}",
            code="observation-image-range",
        )
    return np.rint(values * 255).astype(np.uint8)


def _check_layout(name: str, values: NDArray[Any]) -> None:
    shape = values.shape
    if values.ndim in (3, 4) and shape[-1] == _CHANNELS and values.size:
        return
    advice = ""
    if values.ndim in (3, 4) and shape[-3] == _CHANNELS:
        order = (1, 2, 0) if values.ndim == 3 else (0, 2, 3, 1)
        advice = f"; its channels come first: give image.transpose{order}"
    elif values.ndim in (3, 4) and shape[-1] == _CHANNELS + 1:
        advice = "; it has a fourth channel: give image[..., :3]"
    raise UsageError(
        f"images: {name!r} has the shape {shape}, expected (height, width, 3) RGB, or a batch of "
        f"them{advice}",
        code="observation-image-channels",
    )


def _check_size(camera: Camera, found: Size) -> None:
    """Refuse frames that the reduction of training would not bring to what training saw.

    Larger ones of the recorded shape are fine: what an area averages is then the same.
    """
    height, width = found if camera.rotated % 180 == 0 else found[::-1]
    trained = camera.height, camera.width
    if (height, width) == trained:
        return
    recorded = camera.recorded_height or trained[0], camera.recorded_width or trained[1]
    too_small = height < trained[0] or width < trained[1]
    distorted = abs(height * recorded[1] - width * recorded[0]) > max(height, width)
    if too_small or distorted:
        turn = f" once rotated by {camera.rotated} degrees" if camera.rotated else ""
        larger = "" if recorded == trained else f", {recorded[0]}x{recorded[1]} as recorded"
        raise UsageError(
            f"images: {camera.name!r} is {height}x{width} (height x width){turn}, expected "
            f"{trained[0]}x{trained[1]}{larger}, or larger ones of that shape; set the camera so",
            code="observation-image-size",
        )


def array_of(given: Any) -> NDArray[Any]:
    """An array of what NumPy, torch, PIL or a sequence of these gives; NO_ARRAY for what is none.

    A masked array is none: its mask would be lost.
    """
    try:
        return _array(given)
    except (
        Exception
    ):  # of whatever a foreign object raises: sparse tensors, lists within themselves
        return NO_ARRAY


def _array(given: Any) -> NDArray[Any]:
    if isinstance(given, np.ma.MaskedArray):
        return NO_ARRAY
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        if str(given.dtype) == "torch.bfloat16":  # which NumPy does not know
            given = given.float()
        return np.asarray(given)
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        parts = [_array(one) for one in given]
        if any(part is NO_ARRAY for part in parts) or len({part.shape for part in parts}) > 1:
            return NO_ARRAY
        return np.stack(parts) if parts else np.empty(0)
    return np.asarray(given)
