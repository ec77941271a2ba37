"""The processes that work for a command end with it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tf_laq.cli.workers import executor_of

pytestmark = pytest.mark.slow

COMMAND = """
import os, sys, time
from tf_laq.cli.workers import executor_of

if __name__ == "__main__":
    with executor_of(2) as executor:
        print(executor.submit(os.getpid).result(), flush=True)
        executor.submit(time.sleep, 600).result()
"""


def is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def assert_ends(process):
    deadline = time.monotonic() + 60
    while is_there(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_there(process)


def test_they_end_in_the_middle_of_their_work_when_the_command_fails():
    with pytest.raises(KeyError), executor_of(2) as executor:
        process = executor.submit(os.getpid).result()
        for _ in range(2):
            executor.submit(time.sleep, 600)
        raise KeyError
    assert_ends(process)


def test_they_end_when_the_command_is_killed(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", tmp_path / "command.py"], stdout=subprocess.PIPE, text=True
    ) as command:
        process = int(command.stdout.readline())
        command.send_signal(signal.SIGKILL)
        assert_ends(process)
