"""What other processes do to a store in the tests; imported by each of them, so it imports little."""

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

from autopeft.architecture import Architecture, Placement
from autopeft.lease import Lease
from autopeft.messages import Fidelity, SearchSpec, TrialReport
from autopeft.store import Store, Submission

FACTS = {"model_hash": "m", "task_hash": "t", "base_parameters": 10}
SPAWN = multiprocessing.get_context("spawn")


def architecture(size):
    return Architecture((Placement("lora", "attention.query", 0, size),))


def add(store, record, size=1, phase="proxy", seed=0, score=0.5):
    report = TrialReport(key="", state="complete", scores={"holdout": score}, curve=((1, score),))
    store.add_evaluation(record, phase, architecture(size), Fidelity(), seed, report)


def claim_all(url, owner, names, start, claimed):
    store = Store(url)
    start.wait()
    for name in names:
        if store.claim(name, owner, 60) is not None:
            claimed.put((name, owner))
    claimed.put(None)


def write_many(url, writer, count, start, done):
    store = Store(url)
    start.wait()
    record = store.get("mine")
    for index in range(count):
        add(store, record, size=1000 * writer + index + 1, score=writer / 10)
        add(store, record, size=index + 1, seed=99, score=writer / 10)  # of all writers alike
    done.put(writer)
    done.put(None)


def submit_many(url, count, start, made):
    store = Store(url)

    def submit(_):
        return store.create(SearchSpec(), FACTS, Submission("me", "key", "digest")).id

    start.wait()
    with ThreadPoolExecutor(count) as threads:
        for identity in threads.map(submit, range(count)):
            made.put(identity)
    made.put(None)


def take_all(url, owner, start, taken):
    store = Store(url)
    start.wait()
    while (record := store.claim_next(owner, 60)) is not None:
        taken.put(record.name)
        store.release(record, "done", 0.0)
    taken.put(None)


def open_both(url, start, done):
    from autopeft.trial import open_storage  # noqa: PLC0415 - Optuna takes its time

    start.wait()
    try:
        Store(url).create(SearchSpec(), FACTS)
        open_storage(url)
    except Exception as error:
        done.put(repr(error))
    done.put(None)


def processes(target, arguments, count):
    """Run that many processes from one barrier on; yield what they put into a queue until each has put None."""
    start, queue = SPAWN.Barrier(count), SPAWN.Queue()
    started = [SPAWN.Process(target=target, args=(*arguments(i), start, queue)) for i in range(count)]
    for process in started:
        process.start()
    ended = 0
    while ended < count:
        item = queue.get(timeout=90)
        ended += item is None
        if item is not None:
            yield item
    for process in started:
        process.join()
        assert process.exitcode == 0


def hold(url, held):
    Lease.take(Store(url), "mine")
    held.put(True)
    time.sleep(120)
