"""What computes the actions, whatever it is made of.

B batch   C cameras   H, W pixels   K chunk   A action dims   Q state dims
E environment state dims
All dims are the policy's, padding included, and all values are in the dataset's units.
"""

from typing import Protocol

from episodes.arrays import FloatArray, Frame


class Backend(Protocol):
    """Computes chunks of actions; any thread may call it."""

    def infer(
        self, state: FloatArray, images: Frame | None, env_state: FloatArray | None
    ) -> FloatArray:
        """state (B, Q), images (B, C, H, W, 3) uint8 RGB, env_state (B, E) -> actions (B, K, A).

        images and env_state are None where the policy has none.
        """
