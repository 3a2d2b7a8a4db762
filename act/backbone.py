"""The ResNet-18 that turns camera images into feature maps.

N images   H, W pixels   h, w = H / 32, W / 32, rounded up
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

FEATURE_DIM = 512
STRIDE = 32

_UNUSED_PREFIX = "fc."  # the ImageNet classifier
_UNUSED_SUFFIX = ".num_batches_tracked"  # a counter of the trained batch norm


class Backbone(nn.Module):
    """ResNet-18 up to `layer4`, its batch norm frozen, every convolution trained."""

    def __init__(self) -> None:
        super().__init__()
        resnet = resnet18(weights=None, norm_layer=FrozenBatchNorm2d)
        without_head = list(resnet.named_children())[:-2]  # avgpool, fc
        self.body = nn.Sequential(OrderedDict(without_head))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised -> (N, 512, h, w), in the memory format of the input."""
        return self.body(image)

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
