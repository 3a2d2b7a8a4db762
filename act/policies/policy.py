"""What the policies share: camera frames as recorded go in, losses or normalised actions come out.

B batch   C cameras   H, W pixels   K chunk   A action dims   Q qpos dims
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from act.batches.augmentation import kept, recoloured, shifted
from act.batches.batch import Samples
from act.network.backbone import Backbone, load_backbones

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Policy(nn.Module):
    """A network with its losses; `forward` takes qpos (B, Q) and image (B, C, H, W, 3).

    ACT does without an image, and takes an environment state, where it was built so.

    A policy is a module of this room with `build(flags, shapes)`, named in registry.py.
    """

    chunk_size: int  # actions predicted at once, K
    latent_dim: int  # standard normals that `losses` takes for each sample; 0 = none
    loss_titles: Mapping[str, str]  # of what `losses` gives, in order, for the curves
    sizes: Mapping[str, int]  # of the network, for the manifest

    model: Any
    image_mean: Tensor
    image_std: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.recolours = True  # False where drawn changes of colour are never but 1 and 0
        # Frames lie as (H, W, 3); convolutions in that layout need no copy of them.
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, value in (("image_mean", IMAGENET_MEAN), ("image_std", IMAGENET_STD)):
            # on the CPU also where a policy is built without values, to be given those of a file
            on_cpu = torch.tensor(value, device="cpu").view(3, 1, 1)
            self.register_buffer(name, on_cpu, persistent=False)

    def losses(self, batch: Samples) -> dict[str, Tensor]:
        """The scalars that `loss_titles` names, of which `loss` is the one to minimise."""
        raise NotImplementedError

    def set_step(self, step: int | None) -> None:
        """Bring weights of the loss to where they are at this training step; None: validation."""

    def load_backbone(self, state_dict: Mapping[str, Any]) -> None:
        """Take each backbone's weights from a torchvision ResNet-18.

        Raises ValueError and KeyError when they are of another network.
        """
        load_backbones(self, state_dict)

    def normalised(self, image: Tensor, augment: Tensor | None = None) -> Tensor:
        """(B, C, H, W, 3) uint8 or float in [0, 1] -> (B, C, 3, H, W) with ImageNet's statistics.

        The result keeps the order of the values in memory: it is channels-last.
        """
        if augment is not None:
            image = shifted(image, augment)
        image = image.permute(0, 1, 4, 2, 3)
        if image.dtype == torch.uint8:
            image = image / 255
        if augment is not None and self.recolours:
            image = recoloured(image, augment)
        image = (image - self.image_mean) / self.image_std
        return image if augment is None else kept(image, augment)

    def parameter_groups(self, lr: float, lr_backbone: float) -> list[dict[str, Any]]:
        """AdamW's groups, without the parameters that only `decay_uncomputed` moves."""
        groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        for name, parameter in self.trained_parameters().items():
            groups["backbone" in name].append(parameter)
        return [{"params": groups[False], "lr": lr}, {"params": groups[True], "lr": lr_backbone}]

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that have a gradient, by name."""
        uncomputed = set(self.uncomputed_parameters())
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if parameter.requires_grad and parameter not in uncomputed
        }

    def keep_weights(self) -> None:
        """Compute once what each query computes of the weights; they must not change any more."""
        for module in self.modules():
            if isinstance(module, Backbone):
                module.keep_weights()

    def drop_training_parts(self) -> None:
        """Let go of what `forward` never reaches; the policy cannot be trained or saved then."""
        self.model.drop_training_parts()

    def uncomputed_parameters(self) -> list[Tensor]:
        """The parameters that upstream computes to no effect, and this network not at all."""
        return []

    @torch.no_grad()
    def decay_uncomputed(self, lr: float, weight_decay: float) -> None:
        """Do to `uncomputed_parameters` what an optimizer step of upstream does, to the last bit.

        Their gradient is zero there, and so are both moments: of AdamW only the decay is left.
        """
        factor = 1 - lr * weight_decay
        if torch.tensor(factor, dtype=torch.float32) == 1:
            return  # below float32's resolution: at upstream's lr 1e-5 the product is the weight
        if uncomputed := self.uncomputed_parameters():
            torch._foreach_mul_(uncomputed, factor)
