"""How long until the front is as good as the best known? AutoPEFT as a whole against Optuna with HF Trainer.

    python benchmarks/end_to_end.py docstrings path/to/trec path/to/sst2 --out end_to_end.json
    python benchmarks/end_to_end.py --quick --json    one task, one seed, few and short trials; under 10 minutes

The sides, each with the whole machine (two cores), never at once, and first in turn from seed to seed:

- AutoPEFT: `Search` with its default sampler, policy, executor and precision, from an empty home, and its
  confirmation. The experience that it begins with is that of the other recorded tasks alone.
- The peer, as people write it: Optuna's TPE; a trial loads the model and trains it with HF Trainer in float32 on both
  cores, to its end. It has what AutoPEFT has of knowledge: the space, the modules and their learning rates, tokenised
  rows grouped by length. It has no hand-made architectures to begin with, and more trials. It confirms its front in
  the same way, at as many seeds.

The measure. Trials get the same rows, epochs and held-out rows on both sides. A side's clock is wall time from before
its process starts, imports included, and is read when a trial ends. What a side has then is what AutoPEFT would
confirm of its complete trials: those that no other beats in parameters and held-out score, the hand-made ones, and
those that only just missed that front, as many as a search has runners-up by default. The peer is given these for
nothing: it confirms its front alone. What a side has is judged by *confirmed* scores: the mean over the same seeds of
the score on the validation rows, which no trial saw, after training at full fidelity by AutoPEFT's workers. Both
sides' architectures are confirmed alike and outside the clocks, once for all searches, at more seeds than a side
takes for itself where `--judge` says so. The hypervolume of these is the product's: in log10(1 + params) up to the
base model's size, times confirmed score above that of head only. The best known is that of everything confirmed on
the task, both sides and all seeds together; as it is a maximum over noise, a side may end below 95 % of it. *Reached*
is the first reading of the clock at which a side has 95 % of it. `--runners-up 0` judges fronts alone.

`search_ratio` is the peer's time over AutoPEFT's. In `ratio` all that its own confirmation took is added to each;
AutoPEFT's is of the hand-made architectures and of runners-up as well. Where the peer does not get there its whole
time counts, and the ratio is a lower bound; where AutoPEFT does not, there is none. `parity` is the ratio of the
searches' times to the largest share that the peer ever has, which is no bound.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from courses import Job, run
from kept import Kept
from peers import MODEL
from running import run_all

from autopeft.architecture import Architecture
from autopeft.base_models import describe_model
from autopeft.controller.shortlist import candidates
from autopeft.messages import Fidelity, SearchSpec, TaskSpec, TrialRequest
from autopeft.pareto import cost_axis, hypervolume
from autopeft.trial import Trial

SHARES = (0.90, 0.95)
MAIN = 0.95
SIDES = {"ours": "AutoPEFT", "peer": "Optuna TPE + HF Trainer"}
Row = dict[str, Any]
Curve = list[tuple[float, float]]  # seconds, and the share of the best known that is there then


@dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes:
        trials: of AutoPEFT, the hand-made architectures among them; ``peer_trials`` of the peer.
        confirm: seeds at which a side confirms what it found.
        judge: seeds of the confirmed scores that the sides are judged by.
        runners_up: trials that only just missed a front and count as well.
    """

    trials: int
    peer_trials: int
    seeds: int
    confirm: int
    judge: int
    runners_up: int
    proxy: Fidelity
    full: Fidelity


FULL = Size(
    trials=40,
    peer_trials=100,
    seeds=3,
    confirm=3,
    judge=3,
    runners_up=SearchSpec().runners_up,
    proxy=Fidelity(rows=1000, epochs=2, evaluations=1, held_out_rows=500),
    full=Fidelity(rows=1500, epochs=2, evaluations=2, held_out_rows=500),
)
QUICK = Size(
    trials=20,
    peer_trials=24,
    seeds=1,
    confirm=1,
    judge=1,
    runners_up=SearchSpec().runners_up,
    proxy=Fidelity(rows=256, epochs=2, evaluations=1, held_out_rows=256),
    full=Fidelity(rows=512, epochs=2, evaluations=1, held_out_rows=256),
)


class Contest:
    """Both sides on one task, from wherever the file of results stands."""

    def __init__(self, task: str, size: Size, kept: Kept) -> None:
        self._task, self._size, self._kept = task, size, kept
        self._name = Path(task).name

    def searches(self) -> dict[str, list[Row]]:
        """Return every side's searches, by seed."""
        found: dict[str, list[Row]] = {side: [] for side in SIDES}
        for seed in range(self._size.seeds):
            for side in sorted(SIDES, reverse=seed % 2 == 1):
                key = f"{self._name} {side} {seed}"
                one = self._kept.get(key, lambda side=side, seed=seed: run(side, self._job(side, seed)))
                found[side].append(one)
                _say(f"{key}: {len(one['trials'])} trials, done after {one['ended']:.0f} s")
        return found

    def confirmed(self, architectures: Sequence[Architecture]) -> dict[str, float]:
        """Return the confirmed scores, by fingerprint."""
        wanted = {one.fingerprint: one for one in (Architecture(), *architectures)}
        seeds = range(self._size.judge)
        requests = [
            TrialRequest(
                key=f"{self._name} {fingerprint} {seed}",
                model=MODEL,
                task=TaskSpec(name=self._task),
                architecture=architecture.to_dict(),
                fidelity=self._size.full,
                parts=("validation",),
                seed=seed,
            )
            for fingerprint, architecture in wanted.items()
            for seed in seeds
        ]
        missing = [request for request in requests if request.key not in self._kept]
        for index, report in enumerate(run_all(missing) if missing else (), 1):
            self._kept.put(report.key, report.scores["validation"])
            _say(f"confirmed {index} of {len(missing)}: {report.scores['validation']:.4f}")
        return {
            fingerprint: statistics.fmean(self._kept.found[f"{self._name} {fingerprint} {seed}"] for seed in seeds)
            for fingerprint in wanted
        }

    def _job(self, side: str, seed: int) -> Job:
        size = self._size
        trials = size.trials if side == "ours" else size.peer_trials
        return Job(self._task, seed, trials, size.proxy, size.full, size.confirm)


def lists(search: Row, runners_up: int) -> Iterator[tuple[float, list[Row]]]:
    """Yield, whenever a trial ended, the time and what a search would confirm then."""
    so_far: dict[str, Trial] = {}
    for number, row in enumerate(search["trials"]):
        trial = _trial(number, row)
        if trial.score is not None:
            so_far.setdefault(trial.architecture.fingerprint, trial)  # a peer may repeat itself, to the last digit
        chosen = candidates(list(so_far.values()), runners_up)
        yield row["at"], [search["trials"][trial.number] for trial in chosen]


def ever_listed(searches: dict[str, list[Row]], runners_up: int) -> list[Row]:
    """Return what any search would have confirmed at any time, as often as it would."""
    return [row for side in searches.values() for one in side for _, rows in lists(one, runners_up) for row in rows]


def _trial(number: int, row: Row) -> Trial:
    return Trial(
        number=number,
        name=row["name"],
        architecture=Architecture.from_dict(row["architecture"]),
        params=row["params"],
        score=row["score"],
        state="pruned" if row["score"] is None else "complete",
        reason=None,
        seconds=0.0,
        attempts=1,
    )


def judge(
    searches: dict[str, list[Row]], scores: dict[str, float], base_parameters: int, runners_up: int
) -> list[Row]:
    """Return what came of every seed, by confirmed scores."""
    reference = (cost_axis(base_parameters), scores[Architecture().fingerprint])

    def area(rows: Sequence[Row]) -> float:
        return hypervolume([(cost_axis(row["params"]), scores[_fingerprint(row)]) for row in rows], reference)

    best = area(ever_listed(searches, runners_up))
    found = []
    for seed in range(len(searches["ours"])):
        curves = {
            side: [(at, area(rows) / best) for at, rows in lists(of_side[seed], runners_up)]
            for side, of_side in searches.items()
        }
        sides = {side: _course(curve, searches[side][seed]["ended"]) for side, curve in curves.items()}
        ratios = _ratios(sides["ours"], sides["peer"]) | {"parity": _parity(curves["ours"], curves["peer"])}
        found.append({"seed": seed, "best": best, **sides, **ratios})
    return found


def _course(curve: Curve, ended: float) -> Row:
    """Return when a search had which share of the best, what it had at the end, and what came after its trials."""
    reached = {f"{share:.0%}": _first(curve, share) for share in SHARES}
    searched, share = curve[-1]
    return {"reached": reached, "share": share, "searched": searched, "after": ended - searched}


def _ratios(ours: Row, peer: Row) -> Row:
    own, theirs = (one["reached"][f"{MAIN:.0%}"] for one in (ours, peer))
    took = theirs or peer["searched"]
    return {
        "ratio": None if own is None else (took + peer["after"]) / (own + ours["after"]),
        "search_ratio": None if own is None else took / own,
        "peer_reached": theirs is not None,
    }


def _parity(ours: Curve, peer: Curve) -> float | None:
    most = max(share for _, share in peer)
    own, theirs = _first(ours, most), _first(peer, most)
    return None if own is None else theirs / own


def _first(curve: Curve, share: float) -> float | None:
    return next((at for at, has in curve if has >= share), None)


def _fingerprint(row: Row) -> str:
    return Architecture.from_dict(row["architecture"]).fingerprint


def table(found: dict[str, list[Row]]) -> str:
    """Return a row for every task and seed."""
    lines = [
        "| task, seed | best known | side | s to 90% | s to 95% | share at the end | s of all trials | s after them "
        "| of the searches: ratio | to what the peer has | with all of both confirmations |",
        "| --- " * 11 + "|",
    ]
    for task, seeds in found.items():
        for one in seeds:
            search, whole = (_bounded(one[name], one["peer_reached"]) for name in ("search_ratio", "ratio"))
            for side, name in SIDES.items():
                course = one[side]
                times = [_number(course["reached"][f"{share:.0%}"]) for share in SHARES]
                rest = [f"{course['share']:.3f}", f"{course['searched']:.0f}", f"{course['after']:.0f}"]
                last = [search, _bounded(one["parity"], exact=True), whole] if side == "ours" else [""] * 3
                cells = [f"{task}, {one['seed']}", f"{one['best']:.3f}", name, *times, *rest, *last]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f}"


def _bounded(ratio: float | None, exact: bool) -> str:
    return "-" if ratio is None else f"{'' if exact else 'more than '}{ratio:.1f}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Search with both sides, confirm, judge, and print a table or JSON."""
    parser = argparse.ArgumentParser(description="AutoPEFT as a whole against Optuna with HF Trainer.")
    parser.add_argument("tasks", nargs="*", default=["docstrings"], help="as `autopeft search --task` takes them")
    parser.add_argument("--quick", action="store_true", help="one task, one seed, few and short trials")
    parser.add_argument("--json", action="store_true", help="print JSON: what was found by task, a list by seed")
    parser.add_argument("--out", type=Path, help="keep what is found in this file, and go on from it")
    counts = ("trials", "peer_trials", "seeds", "confirm", "judge", "runners_up")
    for name in counts:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    given = parser.parse_args()
    changed = {name: getattr(given, name) for name in counts if getattr(given, name) is not None}
    size = replace(QUICK if given.quick else FULL, **changed)
    sizes = {name: s.model_dump() if isinstance(s, Fidelity) else s for name, s in vars(size).items()}
    # Further seeds, of searches or of scores, go on from those that are there.
    kept = Kept(given.out, {name: s for name, s in sizes.items() if name not in ("seeds", "judge", "runners_up")})
    base = describe_model(MODEL).parameters
    found = {}
    for task in given.tasks[:1] if given.quick else given.tasks:
        contest = Contest(task, size, kept)
        searches = contest.searches()
        rows = ever_listed(searches, size.runners_up)
        scores = contest.confirmed([Architecture.from_dict(row["architecture"]) for row in rows])
        found[Path(task).name] = judge(searches, scores, base, size.runners_up)
        if not given.json:
            print(table(found), flush=True)
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
