"""A policy as a robot sees it: observations in, actions out, in the dataset's own dims and units.

B batch   K chunk   A action dims   Q state dims   E environment state dims
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from act.load.backend import Backend
from act.load.execution import Execution, OpenLoop, TemporalEnsembling
from act.load.limits import Limiter, Limits, StaleGuard, is_number
from act.load.observation import Observation, Observer, names_of
from act.load.own_dims import own
from act.load.pace import Pace
from episodes.arrays import FloatArray
from job.errors import UsageError
from job.sections.contract import Contract

Images = Mapping[str, Any]
_MODES = ("open_loop", "temporal_ensembling")


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """How chunks are executed; None: as the contract recommends."""

    mode: Literal["open_loop", "temporal_ensembling"] | None = None
    horizon: int | None = None
    ensembling_weight: float | None = None
    align_first_action: bool = False


class LoadedPolicy:
    """A trained policy: `predict` gives chunks, `step` one action per control tick."""

    def __init__(
        self,
        contract: Contract,
        backend: Backend,
        *,
        executed: ExecutionOptions,
        limits: Limits,
    ) -> None:
        """Raises UsageError for ways of execution or limits that do not go with the contract."""
        self.contract = contract
        self.backend = backend
        self._executed, self._limits = executed, limits
        self._observer = Observer(contract)
        self._own = own(contract.action)
        self._range = Limiter(limits, contract)  # of `predict`; it has no memory of actions
        ticks, left = self.execution().query_ticks, self.chunk_size - executed.align_first_action
        self.pace = Pace(contract.fps, ticks, left)  # of all sessions
        self._session = self.session()

    @property
    def cameras(self) -> tuple[str, ...]:
        """The names of the cameras; an observation has one image for each."""
        return self._observer.cameras

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width that images are brought to, in pixels; None without cameras."""
        cameras = self.contract.cameras
        return (cameras[0].height, cameras[0].width) if cameras else None

    @property
    def fps(self) -> float | None:
        """Control ticks a second; None where the contract does not know it."""
        return self.contract.fps

    @property
    def state_names(self) -> tuple[str, ...] | None:
        """The dims of the state, in order; None where the dataset has no names."""
        return names_of(self.contract.state)

    @property
    def env_state_names(self) -> tuple[str, ...] | None:
        """The dims of the environment state; None without one, or without names."""
        return names_of(self.contract.env_state) if self.contract.env_state else None

    @property
    def action_names(self) -> tuple[str, ...] | None:
        """The dims of an action, in order; None where the dataset has no names."""
        return names_of(self.contract.action)

    @property
    def chunk_size(self) -> int:
        """Actions that are predicted at once, K."""
        return self.contract.action.chunk_size

    def predict(
        self, state: Any, images: Images | None = None, env_state: Any = None
    ) -> FloatArray:
        """The chunk of actions for an observation, or for each of a batch; any thread may ask.

        state: (Q,) or (B, Q) in the dataset's dims and units; NumPy, torch, or a sequence
        images: by camera, (H, W, 3) or (B, H, W, 3) uint8 RGB, or floats in 0 to 1; NumPy, torch,
            PIL
        env_state: (E,) or (B, E), for a policy that observes one
        returns: (K, A) or (B, K, A) float32, the dataset's own dims and units
        Raises UsageError in one line, with its code, for what is not as training had it.
        """
        seen = self._observer.observation(state, images, env_state)
        chunk = self._range.clipped(self._chunk(seen))
        _check_finite(chunk, self.action_names, "the limits made")
        return chunk if seen.is_batch else chunk[0]

    def warm_up(self) -> None:
        """Predict once, from zeros: the first query takes longer than those that follow."""
        contract = self.contract
        state = np.zeros((1, len(contract.state.dims)), np.float32)
        env_state = None
        if contract.env_state is not None:
            env_state = np.zeros((1, len(contract.env_state.dims)), np.float32)
        images = None
        if self.image_size is not None:
            images = np.zeros((1, len(self.cameras), *self.image_size, 3), np.uint8)
        self.backend.infer(state, images, env_state)

    def step(self, state: Any, images: Images | None = None, env_state: Any = None) -> FloatArray:
        """The action (A,) of one control tick, from an observation as `predict` takes it.

        It is called once each tick, 1 / fps seconds after the one before.
        """
        return self._session.step(state, images, env_state)

    def reset(self, last_action: Any = None) -> None:
        """Begin another episode: `step` forgets predictions, limits and what stood still.

        last_action: (A,), where the robot stands, which limits compare the first action with
        """
        self._session.reset(last_action)

    def session(self) -> "Session":
        """`step` and `reset` for one more robot, which shares the network with the others."""
        return Session(
            self._observer,
            self._timed_chunk,
            execution=self.execution(),
            limits=Limiter(self._limits, self.contract),
            guard=StaleGuard(self._limits.stale_ticks),
            dropped=int(self._executed.align_first_action),
            names=self.action_names,
        )

    def _timed_chunk(self, seen: Observation) -> FloatArray:
        with self.pace.query():
            return self._chunk(seen)

    def _chunk(self, seen: Observation) -> FloatArray:
        """(B, K, A) in the dataset's dims, finite."""
        images = self._observer.images(seen)
        actions = self.backend.infer(seen.state, images, seen.env_state)[..., self._own]
        _check_finite(actions, self.action_names, "the policy predicts")
        return actions

    def execution(self) -> Execution:
        """How an episode executes chunks: as was asked for, else as the contract recommends."""
        given, advice = self._executed, self.contract.execution
        mode = advice.mode if given.mode is None else given.mode
        if not (isinstance(mode, str) and mode in _MODES):
            raise UsageError(
                f"mode is {mode!r}, expected 'open_loop' or 'temporal_ensembling'",
                code="flag-value",
            )
        if not isinstance(given.align_first_action, bool | np.bool_):
            raise UsageError(
                f"align_first_action is {given.align_first_action!r}, expected True or False",
                code="flag-value",
            )
        left = self.chunk_size - int(given.align_first_action)
        if given.align_first_action and (self.contract.action.first_offset == 0 or not left):
            raise UsageError(
                "align_first_action cannot apply: the first action of a chunk is that of the "
                "observation already (sim true), or the only one; leave it out",
                code="flag-unused",
            )
        if mode == "open_loop":
            if given.ensembling_weight is not None:
                raise _unused("ensembling_weight", "mode='open_loop'")
            horizon = min(advice.horizon, left) if given.horizon is None else given.horizon
            if not (isinstance(horizon, int | np.integer) and 1 <= horizon <= left):
                raise UsageError(
                    f"horizon is {horizon!r}, expected 1 to {left}, the actions of a chunk",
                    code="flag-value",
                )
            return OpenLoop(int(horizon))
        if given.horizon is not None:
            raise _unused("horizon", "mode='temporal_ensembling'")
        weight = given.ensembling_weight
        weight = advice.ensembling_weight if weight is None else weight
        if not is_number(weight):
            raise UsageError(
                f"ensembling_weight is {weight!r}, expected a finite number", code="flag-value"
            )
        return TemporalEnsembling(weight)


class Session:
    """One robot: what it has been told to do, and what it may do next."""

    def __init__(
        self,
        observer: Observer,
        predicted: Callable[[Observation], FloatArray],
        *,
        execution: Execution,
        limits: Limiter,
        guard: StaleGuard,
        dropped: int,
        names: Sequence[str] | None,
    ) -> None:
        """predicted: the chunk (1, K, A); dropped: actions at its start that are not executed;
        names: of the dims of an action"""
        self._observer, self._predicted = observer, predicted
        self._execution, self._limits, self._guard = execution, limits, guard
        self._dropped, self._names = dropped, names
        self._stepping = threading.Lock()

    def step(self, state: Any, images: Images | None = None, env_state: Any = None) -> FloatArray:
        """As `LoadedPolicy.step`; every observation is checked, whether it is needed or not."""
        with self._stepping:
            seen = self._observer.observation(state, images, env_state)
            if seen.is_batch:
                raise UsageError(
                    f"step takes one observation, found a batch of {len(seen.state)}; use predict",
                    code="observation-batch",
                )
            cameras = zip(self._observer.cameras, seen.frames, strict=True)
            frames = {f"the camera {name!r}": frame for name, frame in cameras}
            self._guard.look({"the state": seen.state} | frames)
            action = self._execution.step(lambda: self._predicted(seen)[0, self._dropped :])
            action = self._limits.step(action)
            _check_finite(action, self._names, "ensembling and the limits made")
            return action

    def reset(self, last_action: Any = None) -> None:
        """As `LoadedPolicy.reset`."""
        with self._stepping:
            self._limits.reset(last_action)  # the one that may refuse comes first
            self._execution.reset()
            self._guard.reset()


def _check_finite(actions: FloatArray, names: Sequence[str] | None, made: str) -> None:
    """Refuse actions (…, A) with NaN or infinity; made: who made them."""
    if np.isfinite(actions).all():
        return
    bad = sorted({int(where[-1]) for where in np.argwhere(~np.isfinite(actions))})
    raise UsageError(
        f"{made} what is no finite number for {[names[dim] if names else dim for dim in bad]}, "
        f"expected finite ones; stop the robot; is the checkpoint of a run that diverged?",
        code="action-not-finite",
    )


def _unused(name: str, because: str) -> UsageError:
    return UsageError(f"{name} cannot apply to {because}; leave it out", code="flag-unused")
