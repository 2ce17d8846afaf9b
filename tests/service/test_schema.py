"""The OpenAPI document holds: whatever it allows or forbids, no answer breaks it and none is a fault.

``AUTOPEFT_FUZZ_EXAMPLES`` says how many cases each operation is given in each phase.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from autopeft.service import security
from autopeft.service.server import listen
from tests.service.conftest import Running, finish

EXAMPLES = int(os.environ.get("AUTOPEFT_FUZZ_EXAMPLES", "3"))
# Which names there are is no matter of shapes, so that a body of the right shape may be refused.
LEFT_OUT = "positive_data_acceptance"


@pytest.fixture
def address(service: Running) -> Iterator[str]:
    """The service on a real socket."""
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(service.app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_request_makes_the_service_break_its_own_description(
    service: Running, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "MOST_FAILURES", 10**6)  # each operation is tried with wrong tokens
    finish(service.store)
    token = service.token("admin")["Authorization"]
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/api/v1/openapi.json"),
        *("--header", f"Authorization: {token}", "--seed", "1", "--no-color", "--continue-on-failure"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(EXAMPLES)),
        *("--checks", "all", "--exclude-checks", LEFT_OUT, "--request-timeout", "200"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    generated = re.search(r"(\d+) generated", report)
    assert generated and int(generated[1]) >= 300, report
    print(generated[0])
