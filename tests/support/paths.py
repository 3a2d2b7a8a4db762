"""Where the tests' datasets lie."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests/data"
SAMPLES = (DATA / "aloha_sim_v21", DATA / "aloha_sim_v30")
SMALL = DATA / "lerobot"
SIGNALLED = ROOT / "tests/support/signalled"  # for PYTHONPATH: a signal at a chosen function
