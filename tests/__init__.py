"""Tests of the whole, spread over the cores: each of their processes computes with one thread."""

import os

from job.machine import limit_threads

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported; two would wait
limit_threads()  # and where two are asked for they do not spin, here as in a job that runs alone
