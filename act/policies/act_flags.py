"""The flags that the policy ACT obeys."""

from dataclasses import dataclass

from episodes.flags import ChunkFlags
from job.bounds import at_least, fraction
from job.flags import flag

NUM_HEADS = 8


def _multiple_of_heads(value: int) -> str | None:
    fine = value > 0 and value % NUM_HEADS == 0
    return None if fine else f"a multiple of {NUM_HEADS}, the number of attention heads"


@dataclass(frozen=True, kw_only=True)
class ACTFlags(ChunkFlags):
    """The size of ACT, and its loss."""

    title = "network"

    hidden_dim: int = flag("Width of the transformer.", 512, check=_multiple_of_heads)
    dim_feedforward: int = flag(
        "Width of the transformer's feed-forward layers.", 3200, check=at_least(1)
    )
    enc_layers: int = flag("Number of layers of either encoder.", 4, check=at_least(1))
    dec_layers: int = flag("Number of layers of the decoder.", 7, check=at_least(1))
    dropout: float = flag("Dropout rate of the transformer.", 0.1, check=fraction)
    decoder_output: str = flag(
        "Decoder layer that feeds the heads; upstream's is the first.",
        "first",
        choices=("first", "last"),
    )
    vae: str = flag(
        "Encoder of the CVAE; off = latent 0 in training too, and no KL term.",
        "on",
        choices=("on", "off"),
    )
    kl_weight: float = flag(
        "Weight of the KL term in the loss.", 10.0, check=at_least(0), only_with=("vae", "on")
    )
    kl_warmup: int = flag(
        "Number of optimizer steps over which the KL weight grows from 0.",
        0,
        check=at_least(0),
        only_with=("vae", "on"),
    )
    loss_norm: str = flag(
        "Time steps that the l1 mean is over: upstream counts padded ones too.",
        "upstream",
        choices=("upstream", "valid"),
    )
