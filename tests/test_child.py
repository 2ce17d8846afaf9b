"""Processes that do not outlive the one that started them."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from autopeft.child import end, tied

PARENT = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); print(p.pid, flush=True); p.wait()"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has gone")
def test_a_child_ends_with_a_parent_that_is_killed():
    child = tied(sys.executable, "-c", "import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", PARENT, *child], stdout=subprocess.PIPE, text=True) as parent:
        identity = int(parent.stdout.readline())
        time.sleep(0.5)
        assert psutil.pid_exists(identity)
        parent.kill()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(identity) and psutil.Process(identity).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_child_is_the_command_itself_with_its_arguments_and_exit_code():
    found = subprocess.run(
        tied(sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(3)", "a b", "--c"), capture_output=True
    )
    assert (found.returncode, found.stdout) == (3, b"['a b', '--c']\n")


DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("program", "code"), [("print(flush=True); import time; time.sleep(60)", -signal.SIGTERM), (DEAF, -signal.SIGKILL)]
)
def test_a_process_is_asked_to_end_and_killed_where_it_does_not(program, code):
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        end(process, 0.5 if code == -signal.SIGKILL else 30)
        assert process.returncode == code


def test_a_process_that_has_ended_keeps_its_exit_code():
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.exit(3)"]) as process:
        process.wait()
        end(process, 30)
        assert process.returncode == 3
