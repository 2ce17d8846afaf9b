"""The store: searches, the lease on each, and evaluations that last."""

import sqlite3
import threading
import time

import pytest
from sqlalchemy import text

from autopeft.database import open_engine
from autopeft.errors import Conflict, InvalidInput, NotFound
from autopeft.lease import Lease
from autopeft.messages import Fidelity, SearchSpec, TrialReport
from autopeft.store import Store
from autopeft.trial import open_storage
from tests.store.processes import (
    FACTS,
    SPAWN,
    add,
    architecture,
    claim_all,
    hold,
    open_both,
    processes,
    write_many,
)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'folder' / 'autopeft.db'}"


@pytest.fixture
def store(url):
    opened = Store(url)
    yield opened
    opened.close()


@pytest.fixture
def search(store):
    return store.create(SearchSpec(name="mine"), FACTS)


# -- searches


def test_a_search_is_stored_as_it_was_asked_for(store):
    spec = SearchSpec(name="mine", budget="2h", max_params="2%", quantise="nf4")
    before = time.time()
    record = store.create(spec, FACTS)
    assert record == store.get("mine") == store.get(record.id)
    assert (record.spec, record.facts, record.state, record.attempt) == (spec, FACTS, "queued", 0)
    assert (record.owner, record.seconds, record.detail, record.cancel_requested) == (None, 0.0, "", False)
    assert before - 1 < record.created < time.time() + 1


def test_a_search_without_a_name_is_named_by_its_id(store):
    record = store.create(SearchSpec(), FACTS)
    assert record.name == record.id and record.id.startswith("s-")


def test_searches_are_listed_newest_first_and_deleted_with_their_evaluations(store):
    first = store.create(SearchSpec(name="first"), FACTS)
    time.sleep(0.002)
    second = store.create(SearchSpec(name="second"), FACTS)
    assert [record.name for record in store.list()] == ["second", "first"]
    add(store, first)
    add(store, second)
    store.delete(first.id)
    assert [record.name for record in store.list()] == ["second"]
    assert store.evaluations(first, "proxy") == {} and len(store.evaluations(second, "proxy")) == 1
    with pytest.raises(NotFound, match="no search named 'first'; there are: second"):
        store.get("first")


def test_a_name_is_given_once(store, search):
    with pytest.raises(Conflict, match="a search named 'mine' exists already; choose another name or resume it"):
        store.create(SearchSpec(name="mine"), FACTS)
    assert len(store.list()) == 1


NAMES = [
    'it\'s "mine"; DROP TABLE autopeft_searches; --',
    "naïve 🦙 搜索",
    "%_\\",
    " spaced ",
    "Mine",
    "👩\u200d💻",
    "x" * 200,
]


def test_names_may_hold_what_people_write(store, search):
    for name in NAMES:
        assert store.create(SearchSpec(name=name), FACTS).name == name
    for name in NAMES:
        assert store.get(name).name == name
    assert len(store.list()) == len(NAMES) + 1


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "\x1b[31mred", "caf\udce9", "x" * 201])
def test_names_that_a_database_or_a_terminal_cannot_take_are_bad_input_and_never_found(store, search, name):
    with pytest.raises(InvalidInput, match="name = .*give up to 200 characters, none of them a control character"):
        store.create(SearchSpec(name=name), FACTS)
    with pytest.raises(NotFound, match="no search named"):
        store.get(name)
    assert len(store.list()) == 1


def test_a_spec_is_replaced(store, search):
    assert store.set_spec(search, SearchSpec(name="mine", budget="60")).spec.budget == "60"


# -- claims and leases


def test_a_claim_keeps_others_away_until_it_is_given_back(store, search):
    mine = store.claim("mine", "me", 30)
    assert (mine.owner, mine.attempt) == ("me", 1)
    assert store.claim("mine", "you", 30) is None
    assert store.claim("mine", "me", 30).attempt == 2, "who owns it may take it again"
    store.release(store.get("mine"), "interrupted", 2.5, "why")
    record = store.get("mine")
    assert (record.owner, record.state, record.seconds, record.detail) == (None, "interrupted", 2.5, "why")
    assert store.claim("mine", "you", 30).attempt == 3


def test_seconds_add_up_over_attempts(store, search):
    for owner in ("a", "b"):
        store.release(store.claim("mine", owner, 30), "interrupted", 1.5)
    assert store.get("mine").seconds == 3.0


def test_a_lease_ends_by_the_clock_of_the_database(store, search, monkeypatch):
    store.claim("mine", "me", 0.05)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # whatever this machine's clock says
    assert store.claim("mine", "you", 30) is None
    time.sleep(0.06)
    assert store.claim("mine", "you", 30).owner == "you"


def test_a_renewed_lease_goes_on(store, search):
    mine = store.claim("mine", "me", 0.05)
    assert store.renew(mine, 30)
    time.sleep(0.06)
    assert store.claim("mine", "you", 30) is None


def test_what_an_older_attempt_writes_changes_nothing(store, search):
    old = store.claim("mine", "me", 0)
    new = store.claim("mine", "you", 30)
    before = store.get("mine")
    assert not store.renew(old, 99)
    store.set_state(old, "failed")
    store.release(old, "failed", 100.0, "late")
    assert store.get("mine") == before
    store.set_state(new, "running")
    assert store.get("mine").state == "running"


def test_what_is_written_as_a_reason_is_always_stored(store, search):
    store.release(store.claim("mine", "me", 30), "failed", 0, "caf\udce9 \0 " + "x" * 3000)
    detail = store.get("mine").detail
    assert detail.startswith("caf? ? xxx") and len(detail) == 2000


def test_a_queued_search_is_cancelled_at_once_and_a_running_one_when_its_owner_sees_it(store, search):
    assert store.request_cancel("mine").state == "cancelled"
    mine = store.claim("mine", "me", 30)
    assert not store.cancel_requested(mine), "who takes it again means it"
    store.set_state(mine, "running")
    asked = store.request_cancel("mine")
    assert (asked.state, asked.owner) == ("running", "me") and store.cancel_requested(mine)


def test_a_search_whose_owner_is_gone_is_cancelled_at_once_and_a_finished_one_stays(store, search):
    store.set_state(store.claim("mine", "me", 0), "running")
    assert store.request_cancel("mine").state == "cancelled"
    store.release(store.claim("mine", "me", 30), "done", 1.0)
    assert store.request_cancel("mine").state == "done"


# -- evaluations


def test_evaluations_are_kept_by_phase_fingerprint_and_seed(store, search):
    add(store, search, 1)
    add(store, search, 1, seed=1, score=0.6)
    add(store, search, 2, phase="confirmation", score=0.7)
    found = store.evaluations(search, "proxy")
    assert {key: report.scores["holdout"] for key, report in found.items()} == {
        (architecture(1).fingerprint, 0): 0.5,
        (architecture(1).fingerprint, 1): 0.6,
    }
    (report,) = store.evaluations(search, "confirmation").values()
    assert report.scores == {"holdout": 0.7} and report.curve == ((1, 0.7),)


def test_the_first_of_two_evaluations_stays(store, search):
    add(store, search, score=0.5)
    add(store, search, score=0.9)
    (report,) = store.evaluations(search, "proxy").values()
    assert report.scores["holdout"] == 0.5


def test_an_evaluation_of_a_deleted_search_is_nothing(store, search):
    store.delete(search.id)
    add(store, search)
    assert store.evaluations(search, "proxy") == {}


def test_weights_are_not_stored(store, search):
    report = TrialReport(key="", state="complete", weights=b"x" * 1000)
    store.add_evaluation(search, "proxy", architecture(1), Fidelity(), 0, report)
    (stored,) = store.evaluations(search, "proxy").values()
    assert stored.weights is None


# -- several processes


def test_of_many_processes_that_race_for_searches_each_gets_its_own(store, url):
    names = [f"search {i}" for i in range(20)]
    for name in names:
        store.create(SearchSpec(name=name), FACTS)
    claimed = list(processes(claim_all, lambda i: (url, f"owner {i}", names), 8))
    assert sorted(name for name, _ in claimed) == sorted(names)
    assert {record.name: record.owner for record in store.list()} == dict(claimed)
    assert {record.attempt for record in store.list()} == {1}


def test_writers_in_four_processes_lose_nothing(store, search, url):
    assert set(processes(write_many, lambda i: (url, i, 25), 4)) == {0, 1, 2, 3}
    reports = store.evaluations(search, "proxy")
    wanted = {(architecture(1000 * writer + i + 1).fingerprint, 0) for writer in range(4) for i in range(25)}
    wanted |= {(architecture(i + 1).fingerprint, 99) for i in range(25)}
    assert set(reports) == wanted


def test_processes_may_open_one_new_database_at_once(url):
    assert list(processes(open_both, lambda i: (url,), 4)) == []
    assert len(Store(url).list()) == 4


def test_a_new_file_that_another_process_writes_is_switched_to_a_write_ahead_log_once_it_is_let_go(tmp_path):
    path = tmp_path / "new.db"
    writer = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    letting_go = threading.Timer(0.3, writer.close)
    letting_go.start()
    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    letting_go.join()


# -- the lease of a controller


def test_a_dead_owner_on_this_machine_is_taken_over_at_once(store, search, url):
    held = SPAWN.Queue()
    process = SPAWN.Process(target=hold, args=(url, held))
    process.start()
    held.get(timeout=60)
    with pytest.raises(Conflict, match=f"search 'mine' is being worked on by .*:{process.pid}:"):
        Lease(store, "mine")
    process.kill()
    process.join()
    lease = Lease(store, "mine")
    assert lease.record.attempt == 2 and not lease.lost
    lease.stop()


def test_an_owner_on_another_machine_is_waited_for(store, search):
    store.claim("mine", "elsewhere:1:abc", 30)
    with pytest.raises(Conflict, match="being worked on by elsewhere:1:abc; cancel it there first"):
        Lease(store, "mine")


def test_a_lease_is_renewed_and_notices_when_it_is_lost(store, search, monkeypatch):
    monkeypatch.setattr("autopeft.lease.RENEW_EVERY", 0.02)
    monkeypatch.setattr("autopeft.lease.LEASE_SECONDS", 0.5)
    lease = Lease(store, "mine")
    time.sleep(0.8)
    assert not lease.lost and store.claim("mine", "you", 30) is None
    store.release(lease.record, "interrupted", 0)
    store.claim("mine", "you", 30)
    time.sleep(0.2)
    assert lease.lost
    lease.stop()


def test_a_lease_survives_a_database_that_is_away_for_a_moment(store, search, monkeypatch):
    monkeypatch.setattr("autopeft.lease.RENEW_EVERY", 0.02)
    lease = Lease(store, "mine")
    renew, calls = store.renew, []

    def away_at_first(record, seconds):
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError("away")
        return renew(record, seconds)

    monkeypatch.setattr(store, "renew", away_at_first)
    time.sleep(0.3)
    lease.stop()
    assert len(calls) > 3 and not lease.lost


# -- the database


def test_the_database_is_safe_to_share_and_to_crash_on(store, url):
    engine = open_engine(url)
    with engine.begin() as connection:
        settings = {
            pragma: connection.execute(text(f"PRAGMA {pragma}")).scalar()
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    storage = open_storage(url)
    with storage.engine.begin() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_a_transaction_takes_the_write_lock_when_it_begins(store, search, url):
    path = url.removeprefix("sqlite:///")
    with store._begin() as session:
        session.execute(text("SELECT 1"))
        other = sqlite3.connect(path, timeout=0.01, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


@pytest.mark.parametrize("wrong", ["nonsense", "mysql://host/db", ""])
def test_another_database_is_bad_input(wrong):
    with pytest.raises(InvalidInput, match="use sqlite:////path/to/file.db or postgresql"):
        Store(wrong)
