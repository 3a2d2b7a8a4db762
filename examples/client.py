"""A robot that asks a policy server with openpi's own client: `python client.py [HOST [PORT]]`.

Run it in an environment with `pip install openpi-client typing_extensions`, not in this project's:
that client wants NumPy 1. A server's key is taken from ACT_API_KEY. It sends observations made up
from what the server says it expects, and prints the actions; put your robot's in their place.
"""

import os
import sys
import time

import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy

SECONDS = 2.0


def made_up(contract):
    """An observation of the right sizes: every camera grey, the state in the middle of the data."""
    dims = [dim for dim in contract["state"]["dims"] if not dim["padding"]]
    middle = [((dim["minimum"] or 0) + (dim["maximum"] or 0)) / 2 for dim in dims]
    observation = {"state": np.array(middle, np.float32)}
    for camera in contract["cameras"]:
        size = camera["height"], camera["width"], 3
        observation[f"images/{camera['name']}"] = np.full(size, 128, np.uint8)
    return observation


def main():
    """Ask for a chunk, then for an action each tick."""
    host, port = [*sys.argv[1:], *("127.0.0.1", "8000")[len(sys.argv) - 1 :]]
    policy = WebsocketClientPolicy(host, int(port), api_key=os.environ.get("ACT_API_KEY"))
    contract = policy.get_server_metadata()["contract"]
    observation = made_up(contract)

    answer = policy.infer(observation)
    print("a chunk of", answer["actions"].shape, "in", answer["server_timing"])

    try:
        policy.infer({"state": observation["state"][:-1]})
    except RuntimeError as error:  # its text is the server's sentence; the connection stays open
        print(error)

    policy.infer({"reset": True})
    tick = 1 / (contract["fps"] or 10)
    for _ in range(int(SECONDS / tick)):
        began = time.monotonic()
        [action] = policy.infer({**observation, "step": True})["actions"]
        print(np.round(action, 3))  # here the robot would move
        time.sleep(max(0.0, tick - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
