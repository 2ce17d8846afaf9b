"""The store: searches, the lease on each, and evaluations that last."""

import time

import pytest

from autopeft.errors import Conflict, InvalidInput, NotFound
from autopeft.lease import Lease
from autopeft.messages import Fidelity, SearchSpec, TrialReport
from autopeft.store import Store, Submission
from tests.store.processes import (
    FACTS,
    SPAWN,
    add,
    architecture,
    claim_all,
    hold,
    open_both,
    processes,
    submit_many,
    take_all,
    write_many,
)

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


def with_budget(budget):
    return lambda before: before.spec.model_copy(update={"budget": budget})


def test_what_is_asked_for_is_changed_while_nobody_works_on_it(store, search):
    assert store.change("mine", with_budget("60")).spec.budget == store.get("mine").spec.budget == "60"
    mine = store.claim("mine", "me", 30)
    for refusing in (store.change, store.serve):
        with pytest.raises(Conflict, match="search 'mine' is being worked on by me; cancel it first"):
            refusing("mine", with_budget("80"))
    store.release(mine, "done", 0.0)
    assert store.get("mine").spec.budget == "60"


def test_a_search_is_changed_and_queued_at_once_or_not_at_all(store, search):
    def refuse(_):
        raise Conflict("no")

    with pytest.raises(Conflict):
        store.serve("mine", refuse)
    assert not store.get("mine").served
    served = store.serve("mine", with_budget("60"))
    assert (served.spec.budget, served.state, served.served) == ("60", "queued", True)
    with pytest.raises(Conflict, match="'mine' is waiting for a controller already"):
        store.serve("mine", with_budget("80"))
    assert store.get("mine").spec.budget == "60"


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


def test_seconds_are_kept_when_a_lease_is_renewed_and_added_to_when_it_is_given_back(store, search):
    mine = store.claim("mine", "me", 30)
    assert store.renew(mine, 30, 1.5) and store.get("mine").seconds == 1.5
    store.release(mine, "interrupted", 0.5)
    assert store.get("mine").seconds == 2.0
    store.claim("mine", "you", 30)
    assert not store.renew(mine, 30, 9.0) and store.get("mine").seconds == 2.0


def test_a_lease_counts_each_second_once(store, search, monkeypatch):
    monkeypatch.setattr("autopeft.lease.RENEW_EVERY", 0.02)
    began = time.monotonic()
    lease = Lease.take(store, "mine")
    time.sleep(0.3)
    lease.stop()
    counted, rest = store.get("mine").seconds, lease.uncounted
    assert counted > 0.1 and counted + rest == pytest.approx(time.monotonic() - began, abs=0.1)
    store.release(lease.record, "interrupted", rest)


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


# -- searches for whichever controller is free


def test_the_oldest_served_search_that_is_free_is_claimed(store, search):
    first = store.create(SearchSpec(name="first"), FACTS, Submission("me"))
    second = store.create(SearchSpec(name="second"), FACTS, Submission("me"))
    assert [store.claim_next("a", 30).name, store.claim_next("b", 30).name] == ["first", "second"]
    assert store.claim_next("c", 30) is None, "the search of somebody who works on it himself is not taken"
    store.release(store.get(first.id), "done", 1.0)
    store.expire(store.get(second.id))
    again = store.claim_next("c", 30)
    assert (again.name, again.attempt, again.losses) == ("second", 2, 1)


def test_a_search_that_was_left_with_a_pause_is_claimed_after_it_and_after_those_that_came_meanwhile(store):
    for name in ("first", "second"):
        store.create(SearchSpec(name=name), FACTS, Submission("me"))
    store.release(store.claim_next("me", 30), "interrupted", 0.0, "away", pause=0.3)
    assert store.claim_next("me", 30).name == "second" and store.claim_next("me", 30) is None
    third = store.create(SearchSpec(name="third"), FACTS, Submission("me"))
    time.sleep(0.35)
    taken = [store.claim_next("me", 30) for _ in range(2)]
    assert [(one.name, one.losses) for one in taken] == [("third", 0), ("first", 0)]
    store.release(taken[0], "interrupted", 0.0, "away", pause=60.0)
    assert store.claim_next("me", 30) is None
    assert store.claim(third.id, "me", 30) is not None, "who asks for it by its name does not wait"


def test_a_cancelled_search_is_claimed_only_to_end_what_a_lost_controller_left(store):
    waiting = store.create(SearchSpec(name="waiting"), FACTS, Submission("me"))
    assert store.request_cancel(waiting.id).state == "cancelled"
    lost = store.create(SearchSpec(name="lost"), FACTS, Submission("me"))
    store.set_state(store.claim_next("me", 0), "running")
    assert store.request_cancel(lost.id).state == "running", "its trials are to be ended first"
    taken = store.claim_next("you", 30)
    assert taken.name == "lost" and taken.cancel_requested
    store.release(taken, "cancelled", 0.0)
    assert store.claim_next("you", 30) is None
    served = store.serve(lost.id)
    assert not served.cancel_requested and store.claim_next("you", 30).losses == 0


def test_a_key_makes_one_search_however_often_it_is_submitted(store):
    one = store.create(SearchSpec(name="mine"), FACTS, Submission("me", "key", "digest"))
    assert store.create(SearchSpec(name="mine"), FACTS, Submission("me", "key", "digest")) == one
    with pytest.raises(Conflict, match="Idempotency-Key 'key' was used for another request"):
        store.create(SearchSpec(name="other"), FACTS, Submission("me", "key", "another"))
    assert store.create(SearchSpec(), FACTS, Submission("you", "key", "digest")) != one
    assert len(store.list()) == 2


# -- events


@pytest.mark.parametrize("count, most, bodies", [(0, 3, []), (3, 3, [0, 1, 2]), (7, 3, [0, 3, 6]), (8, 3, [1, 4, 7])])
def test_events_are_spread_evenly_and_the_last_is_among_them(store, search, count, most, bodies):
    for number in range(count):
        store.events.add(search.id, "progress", {"n": number})
        store.events.add(search.id, "state", {"n": -number})
    assert [event.body["n"] for event in store.events.spread(search.id, "progress", most)] == bodies


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


def test_a_failed_evaluation_gives_way_to_the_next_one(store, search):
    for reason in ("error", "timeout"):
        failed = TrialReport.failure("", reason)
        store.add_evaluation(search, "confirmation", architecture(1), Fidelity(), 0, failed)
        (report,) = store.evaluations(search, "confirmation").values()
        assert report.reason == reason
    add(store, search, phase="confirmation", score=0.7)
    store.add_evaluation(search, "confirmation", architecture(1), Fidelity(), 0, failed)
    (report,) = store.evaluations(search, "confirmation").values()
    assert report.scores == {"holdout": 0.7}


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


def test_of_fifty_submissions_with_one_key_at_once_one_search_is_made(store, url):
    made = list(processes(submit_many, lambda i: (url, 10), 5))
    assert len(made) == 50 and len(set(made)) == 1
    assert [record.id for record in store.list()] == made[:1]


def test_of_eight_controllers_that_take_two_hundred_searches_each_takes_its_own(store, url):
    names = [f"search {i}" for i in range(200)]
    for name in names:
        store.create(SearchSpec(name=name), FACTS, Submission("me"))
    taken = list(processes(take_all, lambda i: (url, f"owner {i}"), 8))
    assert sorted(taken) == sorted(names)
    assert {record.state for record in store.list()} == {"done"} and {record.attempt for record in store.list()} == {1}


def test_processes_may_open_one_new_database_at_once(url):
    assert list(processes(open_both, lambda i: (url,), 4)) == []
    assert len(Store(url).list()) == 4


# -- the lease of a controller


def test_a_dead_owner_on_this_machine_is_taken_over_at_once(store, search, url):
    held = SPAWN.Queue()
    process = SPAWN.Process(target=hold, args=(url, held))
    process.start()
    held.get(timeout=60)
    with pytest.raises(Conflict, match=f"search 'mine' is being worked on by .*:{process.pid}:"):
        Lease.take(store, "mine")
    process.kill()
    process.join()
    lease = Lease.take(store, "mine")
    assert lease.record.attempt == 2 and not lease.lost
    lease.stop()


def test_an_owner_on_another_machine_is_waited_for(store, search):
    store.claim("mine", "elsewhere:1:abc", 30)
    with pytest.raises(Conflict, match="being worked on by elsewhere:1:abc; cancel it there first"):
        Lease.take(store, "mine")


def test_a_lease_is_renewed_and_notices_when_it_is_lost(store, search, monkeypatch):
    monkeypatch.setattr("autopeft.lease.RENEW_EVERY", 0.02)
    monkeypatch.setattr("autopeft.lease.LEASE_SECONDS", 0.5)
    lease = Lease.take(store, "mine")
    time.sleep(0.8)
    assert not lease.lost and store.claim("mine", "you", 30) is None
    store.release(lease.record, "interrupted", 0)
    store.claim("mine", "you", 30)
    time.sleep(0.2)
    assert lease.lost
    lease.stop()


def test_a_lease_survives_a_database_that_is_away_for_a_moment(store, search, monkeypatch):
    monkeypatch.setattr("autopeft.lease.RENEW_EVERY", 0.02)
    lease = Lease.take(store, "mine")
    renew, calls = store.renew, []

    def away_at_first(*given):
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError("away")
        return renew(*given)

    monkeypatch.setattr(store, "renew", away_at_first)
    time.sleep(0.3)
    lease.stop()
    assert len(calls) > 3 and not lease.lost


# -- the database


@pytest.mark.parametrize("wrong", ["nonsense", "mysql://host/db", ""])
def test_another_database_is_bad_input(wrong):
    with pytest.raises(InvalidInput, match="use sqlite:////path/to/file.db or postgresql"):
        Store(wrong)
