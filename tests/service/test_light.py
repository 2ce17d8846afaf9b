"""What the service's process carries."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from autopeft.dispatcher import Dispatcher
from autopeft.service.metrics import Metrics
from autopeft.store.tables import ControllerRow
from tests.service.conftest import Running, finish

PROGRAM = """
import sys
from starlette.testclient import TestClient
from autopeft.service.app import PATIENCE, make_app
from autopeft.settings import Settings
from autopeft.store import Store

settings = Settings.from_environment()
client = TestClient(make_app(settings, Store(settings.database_url, PATIENCE)), base_url="http://127.0.0.1")
for path in ("/healthz", "/readyz", "/metrics", "/api/v1/searches", "/api/v1/uploads", "/api/v1/openapi.json"):
    assert client.get(path).status_code == 200, path
print("loaded:", *sorted({"torch", "ray", "transformers", "datasets", "pandas", "matplotlib"} & set(sys.modules)))
"""


def test_the_service_starts_and_reads_without_torch_or_ray(tmp_path: Path) -> None:
    environment = {**os.environ, "AUTOPEFT_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_metrics_count_requests_by_route_and_searches_and_trials_by_state(service: Running) -> None:
    record = finish(service.store)
    for _ in range(3):
        service.client.get(f"/api/v1/searches/{record.id}")
    service.client.get("/api/v1/searches/nothing")
    text = service.client.get("/metrics").text
    assert 'autopeft_requests_total{method="GET",route="/searches/{search}",status="200"} 3.0' in text
    assert 'autopeft_requests_total{method="GET",route="/searches/{search}",status="404"} 1.0' in text
    assert 'autopeft_searches{served="true",state="done"} 1.0' in text
    assert 'autopeft_trials{state="complete"} 5.0' in text and 'autopeft_trials{state="failed"} 1.0' in text
    assert "autopeft_controllers 0.0" in text and record.id not in text
    service.store.serve(record.id)
    service.store.claim(record.id, "host:1:abc", 60.0)
    assert "autopeft_controllers 1.0" in service.client.get("/metrics").text
    assert service.client.get("/readyz").json()["controllers_at_work"] == 1


@pytest.mark.parametrize("method", ["PROPFIND", "X" * 50])
def test_made_up_methods_and_paths_make_no_new_series(service: Running, method: str) -> None:
    for number in range(20):
        service.client.request(method, f"/nothing/{number}")
    metrics: Metrics = service.app.state.metrics
    text = metrics.text().decode()
    assert method not in text and "/nothing" not in text


def test_a_controller_that_waits_is_seen_until_it_stops_or_is_not_heard_of(service: Running) -> None:
    def seen() -> int:
        count: int = service.client.get("/readyz").json()["controllers_waiting"]
        return count

    assert seen() == 0
    dispatcher = Dispatcher(service.store, service.settings)
    thread = threading.Thread(target=dispatcher.run)
    thread.start()
    until = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < until
        time.sleep(0.05)
    dispatcher.stop()
    thread.join()
    assert seen() == 0
    service.store.waiting.say("lost:1:abc")
    assert seen() == 1 and "autopeft_controllers_waiting 1.0" in service.client.get("/metrics").text
    with service.store._sessions.write() as session:
        session.execute(update(ControllerRow).values(seen=ControllerRow.seen - 20))
    assert seen() == 0
