"""What LeRobot's own ACT predicts: run by a Python that has lerobot, and nothing of this project.

    python lerobot_check.py pretrained_model OBSERVATIONS ACTIONS.npz

OBSERVATIONS is a folder with a file for each observation, N in the order of their names, which has
arrays by feature: vectors in the dataset's units, images (3, H, W) uint8. ACTIONS.npz gets
`actions` (N, K, A) in the dataset's units, and the version of lerobot. Each action was predicted
from one observation, through the folder's processors, by `select_action`'s own
`predict_action_chunk`.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from lerobot.policies.act.modeling_act import ACTPolicy  # type: ignore[import-not-found]
from lerobot.policies.factory import make_pre_post_processors  # type: ignore[import-not-found]


def main(folder: str, observations: str, actions: str) -> None:
    """Write what the policy in `folder` predicts for each of the observations."""
    policy = ACTPolicy.from_pretrained(folder, strict=True)
    policy.to("cpu").eval()
    on_cpu = {"preprocessor_overrides": {"device_processor": {"device": "cpu"}}}
    before, after = make_pre_post_processors(policy.config, pretrained_path=folder, **on_cpu)
    found = []
    for path in sorted(Path(observations).iterdir()):
        with np.load(path) as file:
            one = {name: torch.from_numpy(file[name]) for name in file.files}
        one = {n: v / 255 if v.dtype == torch.uint8 else v for n, v in one.items()}
        with torch.no_grad():
            chunk = policy.predict_action_chunk(before(one))
        found.append(after(chunk[0]).numpy())
    np.savez(actions, actions=np.stack(found), version=np.array(version("lerobot")))


if __name__ == "__main__":
    main(*sys.argv[1:])
