"""The container's main: `python entrypoint.py …` is the command `lerobot-to-act …`."""

import sys

from job import signals

if __name__ == "__main__":
    signals.install()  # first, so that one which comes while the rest is imported is noticed
    from lerobot_to_act import main

    sys.exit(main())
