"""Made-up answers: rows from few words, and the kinds of answer that a plot must stand."""

import itertools

import pytest

from autopeft.answer import Answer, Row
from autopeft.architecture import Architecture, Placement
from autopeft.pareto import non_dominated

BASE = 22_700_000
_trials = itertools.count()


def placements(module, sites, layers, size=0):
    return [Placement(module, site, layer, size) for site in sites for layer in layers]


def make_row(params, score, parts=(), name=None, std=0.004, baseline=None):
    architecture = Architecture(tuple(parts))
    return Row(
        trial=next(_trials),
        name=name or architecture.summary(),
        params=params,
        params_percent=round(100 * params / BASE, 4),
        score=score,
        score_std=std,
        seeds=1 if std is None else 3,
        confirmed=std is not None,
        architecture=architecture,
        baseline=bool(name) if baseline is None else baseline,
        seconds=1.0,
    )


def make_answer(rows, name="trec on MiniLM", state="done", metric="accuracy"):
    front = [rows[i] for i in non_dominated([row.point for row in rows])]
    return Answer(
        search="s1",
        name=name,
        state=state,
        metric=metric,
        front=tuple(front),
        baselines=tuple(row for row in rows if row.baseline),
        others=tuple(row for row in rows if not row.baseline and row not in front),
        confirmed=any(row.confirmed for row in rows),
        base_parameters=BASE,
    )


def baseline_rows(depth=6):
    every = range(depth)
    query_value = placements("lora", ["attention.query", "attention.value"], every, 8)
    adapter = placements("serial_adapter", ["ffn"], every, 48)
    return [
        make_row(0, 0.51, name="head only"),
        make_row(13_824, 0.585, placements("ia3", ["attention.key", "ffn.hidden"], every), "(IA)^3"),
        make_row(27_000, 0.60, placements("bitfit", ["attention.query", "ffn.out"], every), "BitFit"),
        make_row(73_728, 0.62, query_value, "LoRA r=8 q,v"),
        make_row(223_776, 0.668, adapter, "Pfeiffer adapter 48"),
        make_row(343_584, 0.660, [*query_value, *adapter], "UniPELT, no gates"),
    ]


def searched_rows(count, depth=6):
    rows = []
    for i in range(count):
        layers = range(i % depth, depth)
        parts = placements("prefix", ["attention.kv"], layers, 2 ** (i % 7))
        if i % 2:
            parts += placements("lora", ["attention.query", "attention.key", "ffn.in"], layers, 1 + i)
        if i % 3 == 0:
            parts += placements("layer_norm", ["norm.ffn"], layers)
        rows.append(make_row(1000 + int(10 ** (3 + 3 * i / count)), 0.53 + 0.17 * (i / count) ** 0.5, parts))
    return rows


@pytest.fixture
def row():
    return make_row


@pytest.fixture
def answer():
    return make_answer


@pytest.fixture
def typical():
    """Baselines, a front of many, and searched architectures under it."""
    under = [
        make_row(5000 * (i + 1), 0.52 + 0.004 * i, placements("prefix", ["attention.kv"], [0], 3)) for i in range(12)
    ]
    return make_answer([*baseline_rows(), *searched_rows(12), *under])


def _wide_search():
    return make_answer([*baseline_rows(48), *searched_rows(15, 48)])


CASES = {
    "head only": lambda: make_answer([make_row(0, 0.5, name="head only")]),
    "one point": lambda: make_answer([make_row(512, 0.5, placements("lora", ["attention.query"], [3], 1))]),
    "three without a size": lambda: make_answer(baseline_rows()[:3]),
    "not confirmed": lambda: make_answer(
        [make_row(10**i, i, placements("prefix", ["attention.kv"], [i], i), std=None) for i in range(1, 8)]
    ),
    "15 of 48 layers": _wide_search,
    "40 points": lambda: make_answer(searched_rows(40)),
    "equal scores": lambda: make_answer(
        [make_row(0, 0.0, name="head only", std=0.0), make_row(9, 0.0, name="nine", std=0.0)]
    ),
    "huge": lambda: make_answer([make_row(3, -1e9, std=None), make_row(10**12, 1e9, name="a " * 60, std=None)]),
    "unknown module": lambda: make_answer(
        [make_row(5, 0.1, placements("brand_new", ["ffn", "attention"], [1], 10**6))]
    ),
    "same place": lambda: make_answer([make_row(100, 0.5, name=f"baseline {i}", std=None) for i in range(8)]),
}


@pytest.fixture(params=CASES)
def any_answer(request):
    return CASES[request.param]()
