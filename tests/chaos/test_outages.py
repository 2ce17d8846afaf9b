"""Databases that are away or full, owners that are lost or wake up again, and runs that fail."""

from typing import get_args

import pytest

from autopeft.messages import Reason
from tests import postgres as server_of_its_own
from tests.chaos.bench import Bench
from tests.chaos.outages import SHORT, cut_off, fill_up, lock_out, take_over, wake_up

AWAY = 4.0


@pytest.fixture
def on_sqlite(tmp_path, tiny_model, tiny_task):
    made = Bench(f"sqlite:///{tmp_path / 'autopeft.db'}", tmp_path, tiny_model, tiny_task)
    yield made
    made.close()


def test_a_search_of_another_machine_is_taken_over_when_its_lease_has_run_out(bench, found):
    assert take_over(bench, found, lease=SHORT) < SHORT + 5


def test_a_search_waits_for_a_server_that_is_restarted(tmp_path, tiny_model, tiny_task, found):
    with server_of_its_own.running() as server:
        bench = Bench(server.new_database(), tmp_path, tiny_model, tiny_task)
        cut_off(bench, server, AWAY, found)
        bench.close()


def test_a_search_waits_for_a_file_that_another_process_has_locked(on_sqlite, found):
    lock_out(on_sqlite, AWAY, found)


def test_a_full_disk_is_said_and_what_was_finished_is_read_and_gone_on_with(on_sqlite, found):
    said, readable = fill_up(on_sqlite, found)
    assert "database or disk is full" in said
    assert readable > 0


@pytest.mark.parametrize("point", ["launch", "result", "tell"])
def test_a_controller_that_wakes_up_when_its_search_is_done_changes_nothing_and_ends(bench, found, point):
    wake_up(bench, (point, "before", 3), found)


def test_runs_that_fail_have_a_reason_and_the_search_comes_to_its_end(on_sqlite, found):
    record = on_sqlite.submit(budget=40)
    faults = {0: "diverged", 1: "out_of_memory", 2: "worker_lost", 3: "timeout"}
    process = on_sqlite.start(on_sqlite.job(record, faults=faults))
    process.join(60)
    entries = on_sqlite.store.trials.page(record.id, 100)
    assert {entry.reason for entry in entries if entry.state == "failed"} == set(faults.values())
    assert all(entry.reason in get_args(Reason) for entry in entries if entry.state != "complete")
    on_sqlite.reckon(record, found)
