"""The ResNet-18 that turns camera images into feature maps.

N images   H, W pixels   h, w = H / 32, W / 32, rounded up
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

FEATURE_DIM = 512
STRIDE = 32

_UNUSED_PREFIX = "fc."  # the ImageNet classifier
_UNUSED_SUFFIX = ".num_batches_tracked"  # a counter of the trained batch norm


class FrozenNorm(FrozenBatchNorm2d):  # type: ignore[misc]  # torchvision has no types
    """Batch norm that never changes: a scale and a shift per channel, computed once."""

    scale: Tensor
    shift: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.kept_weight: Tensor | None = None  # of the convolution before, with the scale in it
        self.fold()

    @torch.no_grad()
    def fold(self) -> None:
        """Compute scale and shift, after whatever changed the statistics."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", self.bias - self.running_mean * scale, persistent=False)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.fold()


ConvNorm = Callable[[nn.Conv2d, FrozenNorm, Tensor], Tensor]


class Backbone(nn.Module):
    """ResNet-18 up to `layer4`, its batch norm frozen, every convolution trained.

    A frozen norm is a factor and a sum per channel: they go into the convolution's weight and bias,
    which saves a pass over the feature map where that is larger than the weight. Upstream applies
    them one by one; the result is the same but for the order of rounding.
    """

    def __init__(self) -> None:
        super().__init__()
        resnet = resnet18(weights=None, norm_layer=FrozenNorm)
        without_head = list(resnet.named_children())[:-2]  # avgpool, fc
        self.body: Any = nn.Sequential(OrderedDict(without_head))

    def forward(self, image: Tensor, conv_norm: ConvNorm | None = None) -> Tensor:
        """(N, 3, H, W) normalised -> (N, 512, h, w), in the memory format of the input.

        conv_norm: what to do for each convolution and its norm, in place of both as one
        """
        apply = conv_norm or _conv_norm
        body = self.body
        # in place here and below: no gradient needs what a convolution gave, and fresh memory costs
        x = body.maxpool(F.relu(apply(body.conv1, body.bn1, image), inplace=True))
        for layer in (body.layer1, body.layer2, body.layer3, body.layer4):
            for block in layer:
                x = _residual(block, x, apply)
        return x

    @torch.no_grad()
    def keep_weights(self) -> None:
        """Compute once what each pass computes of weights: they must not change any more."""

        def keep(conv: nn.Conv2d, norm: FrozenNorm, x: Tensor) -> Tensor:
            norm.kept_weight = _scaled(conv, norm)
            return conv(x)

        first = self.body.conv1.weight
        self(first.new_zeros(1, 3, STRIDE, STRIDE), keep)  # comes by each of them

    def load(self, state_dict: Mapping[str, Any]) -> None:
        """Take the weights of a torchvision ResNet-18, as its `state_dict()` gives them.

        Raises ValueError, and changes nothing, where a weight is missing, unknown or mis-shaped.
        """
        given = {
            name: value
            for name, value in state_dict.items()
            if not name.startswith(_UNUSED_PREFIX) and not name.endswith(_UNUSED_SUFFIX)
        }
        _check_resnet18(given, self.body.state_dict())
        self.body.load_state_dict(given)


def _conv_norm(conv: nn.Conv2d, norm: FrozenNorm, x: Tensor) -> Tensor:
    """A convolution and the frozen norm after it, as one where the feature map is the larger."""
    height, width = (size // stride for size, stride in zip(x.shape[2:], conv.stride, strict=True))
    if len(x) * height * width < conv.weight[0].numel():
        return conv(x) * norm.scale[:, None, None] + norm.shift[:, None, None]
    weight = _scaled(conv, norm) if norm.kept_weight is None else norm.kept_weight
    return F.conv2d(x, weight, norm.shift, conv.stride, conv.padding)


def _scaled(conv: nn.Conv2d, norm: FrozenNorm) -> Tensor:
    return conv.weight * norm.scale[:, None, None, None]


def _residual(block: Any, x: Tensor, conv_norm: ConvNorm) -> Tensor:
    """What torchvision's BasicBlock does."""
    out = F.relu(conv_norm(block.conv1, block.bn1, x), inplace=True)
    out = conv_norm(block.conv2, block.bn2, out)
    skipped = (
        x if block.downsample is None else conv_norm(block.downsample[0], block.downsample[1], x)
    )
    out += skipped
    return F.relu(out, inplace=True)


def joined(backbone: Backbone) -> nn.Sequential:
    """Wrap a backbone so that its keys read `0.body.*`, as in upstream's checkpoints.

    Upstream's pair is the backbone and a position encoding without parameters.
    """
    return nn.Sequential(backbone)


def feature_size(height: int, width: int) -> tuple[int, int]:
    """The size (h, w) of the feature map of an image."""
    return -(-height // STRIDE), -(-width // STRIDE)


def _check_resnet18(given: Mapping[str, Any], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless `given` has the names and shapes of `expected`."""
    if missing := sorted(expected.keys() - given.keys()):
        raise ValueError(
            f"{_some(missing)} missing, expected all weights of a torchvision ResNet-18"
        )
    # A ResNet-34 has every weight of a ResNet-18 in its shape, and more.
    if unknown := sorted(given.keys() - expected.keys()):
        raise ValueError(
            f"{_some(unknown)} unknown, expected only weights of a torchvision ResNet-18"
        )
    for name, tensor in expected.items():
        found = getattr(given[name], "shape", None)
        if found != tensor.shape:
            shape = found if found is None else tuple(found)
            raise ValueError(f"{name!r} has the shape {shape}, expected {tuple(tensor.shape)}")


def _some(names: list[str]) -> str:
    """The first of some names and how many more there are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"


def load_backbones(network: nn.Module, state_dict: Mapping[str, Any]) -> None:
    """Load a torchvision ResNet-18 into each backbone of a network; ValueError if it is not one."""
    for module in network.modules():
        if isinstance(module, Backbone):
            module.load(state_dict)
