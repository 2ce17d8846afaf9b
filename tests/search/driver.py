"""A process that trains on a cluster: ``python -m tests.search.driver`` with its orders as JSON on stdin.

A process of its own, because how Ray authenticates is settled once for a process.
"""

import json
import shutil
import sys
import time
from pathlib import Path

from autopeft.executors import ExecutorOptions, cluster
from autopeft.executors.ray import RayExecutor
from autopeft.messages import TrialRequest


def main(orders):
    if orders["alone"]:  # as on a machine that is no node of the cluster
        here = cluster._nodes_here
        cluster._nodes_here = lambda address: {
            f: labels for f, labels in here(address).items() if cluster.DRIVER in labels
        }
    executor = RayExecutor(ExecutorOptions(workers=orders["workers"], ray_address=orders["address"]))
    told = {"reports": [], "slots": executor.slots, "joined": executor._cluster._node is not None}
    try:
        for requests in orders["rounds"]:
            told["reports"] += run(executor, [TrialRequest.model_validate(request) for request in requests])
            for path in orders["remove"]:
                shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink(missing_ok=True)
        told["sent"] = {key: sorted(content) for key, content in executor._sent.items()}
    finally:
        executor.close()
    print(json.dumps(told))


def run(executor, requests):
    for request in requests:
        executor.submit(request)
    reports, until = [], time.monotonic() + 120
    while len(reports) < len(requests) and time.monotonic() < until:
        reports += [report.model_dump(mode="json") for report in executor.wait(1.0)]
    return reports


main(json.load(sys.stdin))
