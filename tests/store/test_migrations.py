"""Databases of earlier versions are brought up to date with what is in them, and newer ones are left alone."""

import json

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text

from autopeft.database import open_engine
from autopeft.errors import Conflict
from autopeft.messages import SearchSpec, TrialReport
from autopeft.store import Store, Submission
from autopeft.store.schema import FIRST, HEAD, VERSION_TABLE
from tests.store.processes import FACTS, add, architecture, processes

REPORT = TrialReport(key="", state="complete", scores={"holdout": 0.5}, curve=((1, 0.5),))
SEARCH = {
    "id": "s-0badcafe",
    "name": "naïve 🦙",
    "spec": SearchSpec(name="naïve 🦙", budget="12").model_dump_json(),
    "facts": json.dumps({**FACTS, "metric": "accuracy"}),
    "state": "interrupted",
    "detail": "",
    "created": 1795273021.5,
    "seconds": 12.5,
    "cancel_requested": False,
    "lease_until": 0.0,
    "attempt": 3,
}
EVALUATION = {
    "search_id": "s-0badcafe",
    "phase": "proxy",
    "fingerprint": architecture(1).fingerprint,
    "seed": 0,
    "model_hash": "m",
    "task_hash": "t",
    "architecture": json.dumps(architecture(1).to_dict()),
    "fidelity": "{}",
    "report": REPORT.model_dump_json(),
    "created": 1795273022.5,
}


def insert(connection, table, row):
    columns = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), row)  # noqa: S608 - our own names


@pytest.fixture(params=["with its version", "from before versions were kept"])
def old(request, url):
    """A database as the first version made it, with a search and one of its runs."""
    engine = open_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "autopeft.store:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, FIRST)
        insert(connection, "autopeft_searches", SEARCH)
        insert(connection, "autopeft_evaluations", EVALUATION)
        if request.param != "with its version":
            connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    engine.dispose()
    return url


def test_what_the_first_version_stored_is_read_and_worked_on(old):
    store = Store(old)
    record = store.get("naïve 🦙")
    assert (record.id, record.state, record.seconds, record.attempt) == ("s-0badcafe", "interrupted", 12.5, 3)
    assert (record.spec.budget, record.facts["metric"]) == ("12", "accuracy")
    assert (record.served, record.losses, record.submitter) == (False, 0, None)
    assert store.evaluations(record, "proxy") == {(architecture(1).fingerprint, 0): REPORT}
    add(store, record, 2)
    assert len(store.evaluations(record, "proxy")) == 2
    assert store.claim_next("me", 30) is None, "a search of before is nobody's business but its maker's"
    assert store.serve(record.id).served and store.claim_next("me", 30).attempt == 4
    store.events.add(record.id, "state", {"state": "running"})
    assert store.events.latest(record.id, "state").body == {"state": "running"}
    store.close()


def test_a_database_is_migrated_once_however_many_open_it(old):
    assert list(processes(open_it, lambda i: (old,), 4)) == []
    store = Store(old)
    assert [record.name for record in store.list()] == ["naïve 🦙"]
    store.close()


def open_it(url, start, done):
    start.wait()
    try:
        Store(url).close()
    except Exception as error:
        done.put(repr(error))
    done.put(None)


def test_a_migrated_database_has_the_tables_of_a_new_one(old, tmp_path):
    Store(old).close()
    fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
    Store(fresh).close()
    assert tables(old) == tables(fresh)


def tables(url):
    """Return the columns and the indexes of each table; a constraint is an index on some databases only."""
    found = inspect(open_engine(url))
    return {
        name: (
            {column["name"] for column in found.get_columns(name)},
            {index["name"] for index in found.get_indexes(name) if str(index["name"]).startswith("ix_")},
        )
        for name in found.get_table_names()
    }


def test_a_database_of_a_newer_version_is_left_alone(url):
    store = Store(url)
    store.create(SearchSpec(name="mine"), FACTS, Submission("me"))
    store.close()
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))  # noqa: S608 - our own name
    with pytest.raises(Conflict, match=f"tables of version 9999, and this AutoPEFT knows {HEAD}; upgrade AutoPEFT"):
        Store(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT name FROM autopeft_searches")).scalar() == "mine"
    engine.dispose()
