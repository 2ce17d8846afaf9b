"""What the store keeps for the service: trials by page, events, tokens and uploads."""

import dataclasses
import random

import pytest

from autopeft.errors import Conflict, InvalidInput, NotFound
from autopeft.messages import Fidelity, SearchSpec, TrialReport
from autopeft.store.trials import TrialEntry
from autopeft.stored import read_answer, read_front, to_entry, to_trial
from autopeft.trial import Trial
from tests.store.processes import FACTS, architecture

HELD = {**FACTS, "metric": "accuracy", "base_parameters": 10**6}


@pytest.fixture
def search(store):
    return store.claim(store.create(SearchSpec(), HELD).id, "me", 60)


def entry(number, score=None, params=10, state="complete", name=""):
    return TrialEntry(number, 1, state, None, name, f"{number:016x}", params, score, number / 2, {"n": number})


def trial(number, score, name="", state="complete"):
    return Trial(
        number,
        name,
        architecture(number + 1),
        1000 * (number + 1),
        score,
        state,
        None if score is not None else "diverged",
        1.5,
        2,
        detail="so it went",
        steps=4,
        curve=((2, 0.25), (4, score or 0.0)),
    )


# -- trials


def test_trials_are_paged_in_any_order_with_those_without_a_score_last(store, search):
    rows = [entry(0, 0.5), entry(1, None, state="failed"), entry(2, 0.9, 30), entry(3, 0.7, 20), entry(4, 0.1, 40)]
    store.trials.put(search.id, search.attempt, rows)

    def numbers(*page, **order):
        return [found.number for found in store.trials.page(search.id, *page, **order)]

    assert numbers(2) == [0, 1] and numbers(2, 2) == [2, 3] and numbers(9, 4) == [4]
    assert numbers(9, order="score", down=True) == [2, 3, 0, 4, 1]
    assert numbers(9, order="score") == [4, 0, 3, 2, 1]
    assert numbers(9, order="params", down=True) == [4, 2, 3, 0, 1]
    assert numbers(9, state="failed") == [1]
    assert (store.trials.count(search.id), store.trials.count(search.id, "complete")) == (5, 4)
    assert store.trials.counts(search.id) == {"complete": 4, "failed": 1}


def test_a_trial_is_written_over_by_what_became_of_it(store, search):
    store.trials.put(search.id, search.attempt, [entry(0, None, state="running")])
    told = entry(0, 0.5)
    store.trials.put(search.id, search.attempt, [told])
    assert store.trials.page(search.id, 9) == [told]


def test_a_controller_that_lost_the_search_writes_no_trial(store, search):
    store.release(search, "interrupted", 0.0)
    store.claim(search.id, "you", 60)
    store.trials.put(search.id, search.attempt, [entry(0, 0.5)])
    assert store.trials.page(search.id, 9) == []


def test_a_trial_comes_back_as_it_was_written(store, search):
    given = [trial(0, 0.5, "LoRA"), trial(1, None, state="failed")]
    store.trials.put(search.id, search.attempt, map(to_entry, given))
    assert [to_trial(found) for found in store.trials.page(search.id, 9)] == given


@pytest.mark.parametrize("baselines", [True, False])
@pytest.mark.parametrize("confirmed", [True, False])
def test_the_front_of_a_few_trials_is_that_of_all(store, search, baselines, confirmed):
    rng = random.Random(3)
    scores = [rng.choice([rng.random(), 0.5, None]) for _ in range(60)]
    trials = [
        trial(n, score, "head only" if baselines and n == 0 else "", "complete" if score is not None else "failed")
        for n, score in enumerate(scores)
    ]
    trials[0] = dataclasses.replace(trials[0], score=0.4, state="complete")
    store.trials.put(search.id, search.attempt, map(to_entry, trials))
    if confirmed:
        for size in (1, 5, 9):
            report = TrialReport(key="", state="complete", scores={"validation": size / 10})
            store.add_evaluation(search, "confirmation", architecture(size), Fidelity(), 0, report)
    whole = read_answer(store, search.id, trials)
    found = read_front(store, search)
    assert found.to_dict() == whole.to_dict() and found.front
    assert len(found.others) < max(1, len(whole.others))


# -- events


def test_events_are_read_in_order_from_any_of_them_on(store, search):
    other = store.create(SearchSpec(), FACTS)
    for number in range(4):
        store.events.add(search.id, "progress", {"done": number})
        store.events.add(other.id, "state", {"state": "queued"})
    events = store.events.after(search.id)
    assert [event.body["done"] for event in events] == [0, 1, 2, 3]
    assert [event.body["done"] for event in store.events.after(search.id, events[1].id, limit=1)] == [2]
    assert store.events.latest(search.id) == events[-1] and store.events.latest(other.id) is None
    store.delete(other.id)
    assert store.events.after(other.id) == []


# -- tokens


def test_a_token_is_found_by_its_secret_until_it_is_revoked(store):
    assert not store.tokens.any()
    token, secret = store.tokens.create("ada", ["submit"])
    assert store.tokens.find(secret) == token and store.tokens.list() == [token] and store.tokens.any()
    assert store.tokens.find(secret + "x") is None and store.tokens.find("") is None
    store.tokens.revoke(token.id)
    assert store.tokens.find(secret) is None and not store.tokens.any()
    assert store.tokens.list() == [dataclasses.replace(token, revoked=True)]


def test_secrets_are_long_random_and_not_stored(store, tmp_path):
    secrets = {store.tokens.create("ada", ["read"])[1] for _ in range(20)}
    assert len(secrets) == 20 and all(len(secret) >= 40 for secret in secrets)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any(secret.encode() in stored for secret in secrets)


def test_a_wider_scope_allows_what_a_narrower_does(store):
    tokens = {scope: store.tokens.create("ada", [scope])[0] for scope in ("read", "submit", "admin")}
    allowed = {name: [scope for scope in tokens if token.may(scope)] for name, token in tokens.items()}
    assert allowed == {"read": ["read"], "submit": ["read", "submit"], "admin": ["read", "submit", "admin"]}


def test_a_given_secret_makes_one_token_however_often_a_service_starts(store):
    first, _ = store.tokens.create("service", ["admin"], "a-secret-from-a-file-1234")
    again, _ = store.tokens.create("service", ["admin"], "a-secret-from-a-file-1234")
    assert first == again and store.tokens.list() == [first]


def test_a_given_secret_of_another_token_or_of_a_revoked_one_is_refused(store):
    secret = "a-secret-from-a-file-1234"
    token, _ = store.tokens.create("service", ["submit"], secret)
    with pytest.raises(Conflict, match=f"this token has other scopes .{token.id}: submit.; give another"):
        store.tokens.create("service", ["admin"], secret)
    store.tokens.revoke(token.id)
    with pytest.raises(Conflict, match=f"this token was revoked .{token.id}.; give another"):
        store.tokens.create("service", ["submit"], secret)
    assert not store.tokens.any()


def test_everything_wrong_with_a_token_is_told_at_once(store):
    with pytest.raises(InvalidInput) as caught:
        store.tokens.create(" ", ["raed"], "short")
    assert [problem.field for problem in caught.value.problems] == ["scope", "owner", "token"]
    assert "did you mean read?" in str(caught.value)
    with pytest.raises(NotFound, match="no token 't-1'"):
        store.tokens.revoke("t-1")


# -- uploads


def test_uploads_are_listed_newest_first(store):
    first = store.uploads.add("u-1", "ada", "../../etc/passwd", 12, "0" * 64, 12)
    second = store.uploads.add("u-2", "bob", "b.csv", 0, "1" * 64, 12)
    assert store.uploads.add("u-3", "ada", "a.csv", 1, "2" * 64, 12) is None and store.uploads.used("ada") == 12
    assert store.uploads.list() == [second, first] and store.uploads.get("u-1") == first
    with pytest.raises(NotFound, match="no upload 'u-3'"):
        store.uploads.get("u-3")
