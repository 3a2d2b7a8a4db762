#!/usr/bin/env -S python3 -S -E
"""A Python that a job starts, run by the fork server: this stands in its place.

torchrun starts its processes so, and multiprocessing its workers. It gives the server its open
files, passes signals on, ends as the server's process ends, and takes that with it when it is
killed. As that process is no child of the job's, it also hears of the job's death here.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys

SERVER = "TEST_FORK_SERVER"
_PR_SET_PDEATHSIG = 1  # prctl.h
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(words: list[str]) -> None:
    """Run `python WORDS` by the fork server whose address is in the environment.

    The tracker that multiprocessing starts has no use for libraries: it runs here.
    """
    if "resource_tracker" in words[1]:
        exec(words[1])
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    with os.scandir("/proc/self/fd") as entries:
        numbers = [int(entry.name) for entry in entries]
    files = [number for number in numbers if _is_open(number)]  # not that of the folder itself
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.connect(f"\0{os.environ[SERVER]}")
    request = {
        "words": words,
        "environment": dict(os.environ),
        "files": files,
        "blocked": [int(number) for number in blocked],
    }
    socket.send_fds(server, [json.dumps(request).encode()], files)
    for number in files:
        if number > 2:  # a pipe must be seen to close when the process has closed it
            os.close(number)
    process = int(server.recv(32))

    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    code = os.waitstatus_to_exitcode(int(server.recv(32) or signal.SIGKILL))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _is_open(number: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(os.fstat(number))
    return False


if __name__ == "__main__":
    arguments = sys.argv[1:]
    while arguments[0] != "-c" and arguments[0].startswith("-"):  # flags of the interpreter
        del arguments[0]
    main(arguments)
