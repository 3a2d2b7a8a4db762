"""ACT: action chunking with transformers, a CVAE that predicts the next K actions at once.

B batch   C cameras   H, W pixels   K chunk   A action dims   Q qpos dims   E environment state dims
D hidden   Z latent   h, w size of a feature map

Attribute names are upstream's (tonyzhaozh/act), so that state dicts fit in both directions.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from act.network.backbone import FEATURE_DIM, Backbone, joined
from act.network.position import image_position, sequence_position
from act.network.transformer import Decoder, DecoderLayer, Encoder, EncoderLayer, Transformer

DecoderOutput = Literal["first", "last"]

# What only `posterior` and the losses need: the CVAE's encoder, and a head that no loss reads.
_ENCODER = ("encoder", "cls_embed", "encoder_joint_proj", "encoder_action_proj", "latent_proj")
_TRAINING_PARTS = (*_ENCODER, "pos_table", "is_pad_head")
_POSTERIOR = tuple(f"{name}." for name in _ENCODER)


class ACT(nn.Module):
    """Action chunking with transformers: a CVAE that predicts the next K actions at once.

    `decoder_output` is the decoder layer whose output reaches the heads. "first" is upstream's
    network: of its decoder layers only the first one counts, the others stand in the checkpoint.

    The transformer's tokens are the latent, qpos, the environment state where there is one, and the
    image features where there are images: LeRobot's order. Upstream's network has images and no
    environment state; its branch for the other one lacks the latent and cannot run.
    """

    pos_table: Tensor

    def __init__(  # noqa: PLR0913  each is a knob of the paper
        self,
        *,
        qpos_dim: int,
        action_dim: int,
        chunk_size: int,
        hidden_dim: int = 512,
        dim_feedforward: int = 3200,
        num_heads: int = 8,
        enc_layers: int = 4,
        dec_layers: int = 7,
        dropout: float = 0.1,
        latent_dim: int = 32,
        decoder_output: DecoderOutput = "first",
        env_state_dim: int = 0,
        has_images: bool = True,
        has_posterior: bool = True,
    ) -> None:
        """env_state_dim: 0 = there is no environment state

        has_posterior: whether training samples the latent from the CVAE's encoder, as upstream;
        else that encoder only stands in the checkpoint, and the latent is 0 in training as in use
        """
        super().__init__()
        _check_hidden_dim(hidden_dim, num_heads)
        self.has_images = has_images
        self.has_posterior = has_posterior
        self.chunk_size = chunk_size
        self.hidden_dim = hidden_dim
        self.dim_feedforward = dim_feedforward
        self.latent_dim = latent_dim
        sizes = (hidden_dim, num_heads, dim_feedforward, dropout)

        # The CVAE's encoder; the transformer owns another.
        self.encoder = Encoder(EncoderLayer(*sizes), enc_layers)
        self.register_buffer("pos_table", sequence_position(2 + chunk_size, hidden_dim)[None])
        self.cls_embed = nn.Embedding(1, hidden_dim)
        self.encoder_joint_proj = nn.Linear(qpos_dim, hidden_dim)
        self.encoder_action_proj = nn.Linear(action_dim, hidden_dim)
        self.latent_proj = nn.Linear(hidden_dim, 2 * latent_dim)
        self.latent_out_proj = nn.Linear(latent_dim, hidden_dim)

        if has_images:
            self.backbones = nn.ModuleList([joined(Backbone())])
            self.input_proj = nn.Conv2d(FEATURE_DIM, hidden_dim, kernel_size=1)
        self.input_proj_robot_state = nn.Linear(qpos_dim, hidden_dim)
        if env_state_dim:
            self.input_proj_env_state = nn.Linear(env_state_dim, hidden_dim)
        # of the latent, qpos and the environment state: one row each
        self.additional_pos_embed = nn.Embedding(3 if env_state_dim else 2, hidden_dim)

        num_computed = {"first": 1, "last": dec_layers}[decoder_output]
        norm = nn.LayerNorm(hidden_dim)
        self.transformer = Transformer(
            Encoder(EncoderLayer(*sizes), enc_layers),
            Decoder(DecoderLayer(*sizes), norm, dec_layers, num_computed),
        )
        for parameter in self.transformer.decoder.uncomputed_parameters():
            parameter.requires_grad_(False)
        self.query_embed = nn.Embedding(chunk_size, hidden_dim)
        self.action_head = nn.Linear(hidden_dim, action_dim)
        if not has_posterior:
            for name, parameter in self.named_parameters():
                if name.startswith(_POSTERIOR):
                    parameter.requires_grad_(False)
        # No loss of upstream's reads it, so it keeps its first weights there too.
        self.is_pad_head = nn.Linear(hidden_dim, 1).requires_grad_(False)

    def forward(
        self,
        qpos: Tensor,
        image: Tensor | None = None,
        actions: Tensor | None = None,
        is_pad: Tensor | None = None,
        eps: Tensor | None = None,
        env_state: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Predict the chunk, from the latent of the given actions or, without them, from latent 0.

        qpos (B, Q), image (B, C, 3, H, W), env_state (B, E), all normalised; any memory format;
            image and env_state are None where the network has none
        actions (B, K, A) normalised, is_pad (B, K) bool, eps (B, Z) standard normal: all or none
        returns: a_hat (B, K, A), is_pad_hat (B, K, 1), and mu, logvar (B, Z) or None
        """
        mu = logvar = None
        if actions is None or not self.has_posterior:
            latent = qpos.new_zeros(qpos.shape[0], self.latent_dim)
        else:
            assert is_pad is not None
            assert eps is not None
            mu, logvar = self.posterior(qpos, actions, is_pad)
            latent = mu + (logvar / 2).exp() * eps
        decoded = self._decoded(latent, qpos, image, env_state)
        return self.action_head(decoded), self.is_pad_head(decoded), mu, logvar

    def predict(
        self, qpos: Tensor, image: Tensor | None = None, env_state: Tensor | None = None
    ) -> Tensor:
        """`forward` from latent 0, and nothing besides: a_hat (B, K, A)."""
        latent = qpos.new_zeros(qpos.shape[0], self.latent_dim)
        return self.action_head(self._decoded(latent, qpos, image, env_state))

    def drop_training_parts(self) -> None:
        """Let go of all that `predict` never reaches: half of the weights are for training alone.

        They are the CVAE's encoder, and the decoder's layers behind the one that feeds the heads.
        """
        for name in _TRAINING_PARTS:
            delattr(self, name)
        self.transformer.decoder.drop_uncomputed()

    def posterior(self, qpos: Tensor, actions: Tensor, is_pad: Tensor) -> tuple[Tensor, Tensor]:
        """The CVAE encoder: qpos (B, Q), actions (B, K, A), is_pad (B, K) -> mu, logvar (B, Z)."""
        batch_size = qpos.shape[0]
        cls = self.cls_embed.weight.expand(batch_size, 1, -1)
        joints = self.encoder_joint_proj(qpos)[:, None]
        tokens = torch.cat([cls, joints, self.encoder_action_proj(actions)], dim=1)
        never_padded = is_pad.new_ones(batch_size, 2)  # CLS and qpos
        mask = torch.cat([never_padded, ~is_pad], dim=1)[:, None, None]
        encoded = self.encoder(tokens, self.pos_table[0], mask)
        mu, logvar = self.latent_proj(encoded[:, 0]).chunk(2, dim=-1)
        return mu, logvar

    def uncomputed_parameters(self) -> list[Tensor]:
        """The parameters that no forward pass reaches."""
        return self.transformer.decoder.uncomputed_parameters()

    def _decoded(
        self, latent: Tensor, qpos: Tensor, image: Tensor | None, env_state: Tensor | None
    ) -> Tensor:
        """What the heads see: (B, K, D)."""
        tokens, pos = self._observation(latent, qpos, image, env_state)
        return self.transformer(tokens, pos, self.query_embed.weight)

    def _observation(
        self, latent: Tensor, qpos: Tensor, image: Tensor | None, env_state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The transformer's tokens (B, 2 + h C w, D) and their positions (2 + h C w, D).

        With an environment state 3 + h C w of each, without images 2 or 3.
        """
        vectors = [self.latent_out_proj(latent), self.input_proj_robot_state(qpos)]
        if env_state is not None:
            vectors.append(self.input_proj_env_state(env_state))
        tokens, pos = torch.stack(vectors, dim=1), self.additional_pos_embed.weight
        if image is None:
            return tokens, pos
        of_image, image_pos = self.image_tokens(image)
        return torch.cat([tokens, of_image], dim=1), torch.cat([pos, image_pos])

    def image_tokens(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, 3, H, W) -> tokens (B, h C w, D), pos (h C w, D): the cameras side by side."""
        num_cameras = image.shape[1]
        # One call for all cameras, where upstream makes one each: the frozen norm mixes nothing.
        features = self.input_proj(self.backbones[0](image.flatten(0, 1)))
        hidden_dim, height, width = features.shape[1:]
        tokens = features.permute(0, 2, 3, 1).unflatten(0, (-1, num_cameras)).transpose(1, 2)
        pos = image_position(height, width, hidden_dim, features.device)
        pos = pos[:, None].expand(-1, num_cameras, -1, -1)
        return tokens.flatten(1, 3), pos.flatten(0, 2)


def _check_hidden_dim(hidden_dim: int, num_heads: int) -> None:
    """Raise ValueError unless heads and position features divide the hidden size."""
    if hidden_dim % num_heads or hidden_dim % 4:
        raise ValueError(
            f"hidden_dim is {hidden_dim}, expected a multiple of num_heads ({num_heads}) and of 4"
        )
