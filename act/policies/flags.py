"""The flags that say which policy is learned, its size, and its loss."""

from dataclasses import dataclass

from episodes.flags import ChunkFlags
from job.bounds import at_least, share, some_text
from job.flags import flag

ACT, CNNMLP = "ACT", "CNNMLP"
NUM_HEADS = 8
_ACT_ONLY = ("policy_class", ACT)


def _multiple_of_heads(value: int) -> str | None:
    fine = value > 0 and value % NUM_HEADS == 0
    return None if fine else f"a multiple of {NUM_HEADS}, the number of attention heads"


@dataclass(frozen=True, kw_only=True)
class PolicyFlags(ChunkFlags):
    """The policy."""

    title = "network"

    policy_class: str = flag("Policy that is trained.", ACT, choices=(ACT, CNNMLP))
    hidden_dim: int = flag(
        "Width of the transformer.", 512, check=_multiple_of_heads, only_with=_ACT_ONLY
    )
    dim_feedforward: int = flag(
        "Width of the transformer's feed-forward layers.",
        3200,
        check=at_least(1),
        only_with=_ACT_ONLY,
    )
    enc_layers: int = flag(
        "Number of layers of either encoder.", 4, check=at_least(1), only_with=_ACT_ONLY
    )
    dec_layers: int = flag(
        "Number of layers of the decoder.", 7, check=at_least(1), only_with=_ACT_ONLY
    )
    dropout: float = flag("Dropout rate of the transformer.", 0.1, check=share, only_with=_ACT_ONLY)
    decoder_output: str = flag(
        "Decoder layer that feeds the heads; upstream's is the first.",
        "first",
        choices=("first", "last"),
        only_with=_ACT_ONLY,
    )
    backbone_weights: str = flag(
        "Weights of the image backbone: imagenet, none, or a torchvision state dict.",
        "imagenet",
        check=some_text,
        environ="BACKBONE_WEIGHTS",
    )
    kl_weight: float = flag(
        "Weight of the KL term in the loss.", 10.0, check=at_least(0), only_with=_ACT_ONLY
    )
    kl_warmup: int = flag(
        "Number of steps over which the KL weight grows from 0.",
        0,
        check=at_least(0),
        only_with=_ACT_ONLY,
    )
    loss_norm: str = flag(
        "Steps that the l1 mean is over: upstream counts padded ones too.",
        "upstream",
        choices=("upstream", "valid"),
        only_with=_ACT_ONLY,
    )

    @property
    def actions_at_once(self) -> int:
        """Actions that the policy predicts: CNNMLP predicts one."""
        return self.chunk_size if self.policy_class == ACT else 1
