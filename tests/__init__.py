"""Tests of the whole, spread over the cores: each of their processes computes with one thread."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported; two would wait
