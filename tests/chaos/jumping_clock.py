"""entrypoint.py on a machine whose clock is set back and forth by days, again and again."""

import itertools
import runpy
import sys
import time
from pathlib import Path

_real = time.time
_days = itertools.cycle([0, 40, -3, 0.5, -400])
time.time = lambda: _real() + 86400 * next(_days)

if __name__ == "__main__":
    root = Path(__file__).parent.parent.parent
    sys.path[0] = str(root)
    sys.argv[0] = str(root / "entrypoint.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
