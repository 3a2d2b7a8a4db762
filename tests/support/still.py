"""An environment with gymnasium's interface, for policies trained on tests/data/lerobot."""

from typing import Any

import numpy as np


class Still:
    """Joints that stay where they are; an episode succeeds by its seed."""

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin."""
        self._seed, self._ts = seed, 0
        return self._seen(), {}

    def step(self, _: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Stay."""
        self._ts += 1
        return self._seen(), 0.0, False, self._ts == 3, {"is_success": self._seed % 4 == 0}

    def _seen(self) -> dict[str, Any]:
        images = {name: np.zeros((96, 128, 3), np.uint8) for name in ("front", "wrist")}
        return {"images": images, "state": np.zeros(6)}


def make() -> Still:
    """For the policies of v21_h264."""
    return Still()
