"""Bytecode of our modules in a folder of the session, where none may stand beside the sources.

Where PYTHONDONTWRITEBYTECODE is set, each of some hundreds of jobs and each of their processes
would compile up to 170 modules again, a sixth of what a tiny training takes.
"""

import atexit
import os
import shutil
import sys
import tempfile

_FORBIDDEN = "PYTHONDONTWRITEBYTECODE"
_FOLDER = "PYTHONPYCACHEPREFIX"


def keep_bytecode() -> None:
    """Let this process, and those that it starts, keep bytecode for the session."""
    if _FORBIDDEN not in os.environ:
        return
    del os.environ[_FORBIDDEN]
    os.environ[_FOLDER] = tempfile.mkdtemp(prefix="bytecode-")
    atexit.register(shutil.rmtree, os.environ[_FOLDER], ignore_errors=True)
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.environ[_FOLDER]
