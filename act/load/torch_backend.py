"""The network of a checkpoint, which computes actions with torch.

B batch   C cameras   H, W pixels   K chunk   A action dims   Q state dims
E environment state dims
All dims are the policy's, padding included, and all values are in the dataset's units.
"""

import threading
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from act.load.source import Source
from act.policies.act_flags import NUM_HEADS
from act.policies.flags import PolicyFlags
from act.policies.policy import Policy
from act.policies.registry import POLICIES, Shapes, build_policy
from act.policies.weights import Weights, load_weights
from act.processes.compilation import check_compiler
from act.processes.device import choose_device
from act.processes.flags import MachineFlags
from act.processes.precision import resolved_precision, warn_if_emulated
from episodes.arrays import FloatArray, Frame
from job.errors import UsageError
from job.sections.contract import Contract

_SIZES = ("hidden_dim", "dim_feedforward", "enc_layers", "dec_layers", "decoder_output")


class TorchBackend:
    """The network of a checkpoint, without what only training needs."""

    def __init__(self, source: Source, computing: MachineFlags) -> None:
        """Load it; raises UsageError for weights that do not fit the contract."""
        self.source = source
        self.device = choose_device(computing.device)
        self.precision = resolved_precision(computing, self.device)
        warn_if_emulated(self.precision, self.device)
        check_compiler(computing, self.device)
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("highest" if self.precision == "fp32" else "high")
            torch.backends.cudnn.allow_tf32 = self.precision != "fp32"
        self.policy = load_network(source).to(self.device)
        self.policy.keep_weights()
        if computing.compile == "on":
            self.policy.compile(dynamic=False)
        self._stats = _statistics(source.contract)
        self._computing = threading.Lock()  # compiled code and CUDA graphs are no thread's own

    def infer(
        self, state: FloatArray, images: Frame | None, env_state: FloatArray | None
    ) -> FloatArray:
        """As `Backend` has it."""
        stats = self._stats
        inputs = [torch.from_numpy((state - stats["qpos_mean"]) / stats["qpos_std"])]
        if images is not None:
            inputs.append(torch.from_numpy(images))
        by_name = {}
        if env_state is not None:
            seen = (env_state - stats["env_state_mean"]) / stats["env_state_std"]
            by_name["env_state"] = torch.from_numpy(seen).to(self.device)
        with self._computing, torch.inference_mode():
            a_hat = self._forward(*(one.to(self.device) for one in inputs), **by_name)
        actions: FloatArray = a_hat.float().cpu().numpy()
        actions = actions[:, None] if actions.ndim == 2 else actions  # CNNMLP's one action
        return actions * stats["action_std"] + stats["action_mean"]

    def _forward(self, *inputs: Tensor, **by_name: Tensor) -> Tensor:
        on = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=on):
            return self.policy(*inputs, **by_name)


def load_network(source: Source) -> Policy:
    """The policy of a checkpoint on the CPU, ready to predict and for nothing else.

    Raises UsageError when the file is not readable, or does not fit its contract.
    """
    policy = network_of(source.contract)
    weights = load_weights(source.checkpoint)
    _check_dtypes(source.checkpoint, weights, policy)
    try:
        policy.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{source.checkpoint}: does not fit the network of its contract ({reason[:300]}); "
            f"expected the weights that its run wrote; copy both from the run's folder again",
            code="weights-mismatch",
        ) from error
    policy.drop_training_parts()
    # as training lays them out in memory, which decides in what order sums are rounded
    policy.model.to(memory_format=torch.channels_last)
    return policy.eval().requires_grad_(False)


def _check_dtypes(file: Path, weights: Weights, policy: Policy) -> None:
    """Refuse weights of another type than training's: the sums of a mixed network cannot be made.

    Which are missing, or too many, torch says.
    """
    for name, expected in policy.state_dict().items():
        found = weights.get(name, expected).dtype
        if found != expected.dtype:
            right, wrong = (str(one).removeprefix("torch.") for one in (expected.dtype, found))
            raise UsageError(
                f"{file}: {name} is {wrong}, expected {right}, as training writes it; give the "
                f"checkpoint as it was before it was converted",
                code="weights-mismatch",
            )


def network_of(contract: Contract) -> Policy:
    """The whole network of a contract, without values: a file has them; raises UsageError."""
    with torch.device("meta"):  # making values takes seconds
        return _build(contract)


def _build(contract: Contract) -> Policy:
    network, cameras = contract.network, contract.cameras
    if contract.policy_class not in POLICIES or network.num_heads not in (None, NUM_HEADS):
        raise UsageError(
            f"policy.json: policy_class is {contract.policy_class!r} with {network.num_heads} "
            f"attention heads, expected {' or '.join(POLICIES)}, and {NUM_HEADS} heads; it is of "
            f"another version of this project",
            code="weights-mismatch",
        )
    sizes = {name: getattr(network, name) for name in _SIZES}
    flags = PolicyFlags(
        policy_class=contract.policy_class,
        chunk_size=network.chunk_size,
        **{name: size for name, size in sizes.items() if size is not None},
    )
    shapes = Shapes(
        qpos_dim=network.qpos_dim,
        action_dim=network.action_dim,
        num_cameras=len(cameras),
        image_size=(cameras[0].height, cameras[0].width) if cameras else None,
        env_state_dim=network.env_state_dim or 0,
    )
    return build_policy(flags, shapes)


def _statistics(contract: Contract) -> dict[str, FloatArray]:
    """By name; JSON holds the float32 values exactly."""
    found = contract.statistics.model_dump()
    return {name: np.array(one, np.float32) for name, one in found.items() if one is not None}
