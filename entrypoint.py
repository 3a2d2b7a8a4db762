"""The container's main: `python entrypoint.py …` is the command `lerobot-to-act …`."""

import sys

from lerobot_to_act import main

if __name__ == "__main__":
    sys.exit(main())
