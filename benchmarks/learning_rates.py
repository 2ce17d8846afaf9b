"""At which learning rate does each module type train well? One line a run: task, type, size, rate, score.

    python benchmarks/learning_rates.py docstrings path/to/trec

The table in docs/learning_rates.md, and the defaults in autopeft/modules/, come from this.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from autopeft.architecture import Architecture, Placement
from autopeft.base_models import describe_model
from autopeft.messages import Fidelity, TaskSpec, TrainingSettings, TrialRequest
from workers.proxy import run

MODEL = "minilm"
RATES = (5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 4e-2, 1e-1, 2e-1)
# One for all widths and types: the table compares the modules' rates alone.
HEAD_RATE = 1e-2
FIDELITY = Fidelity(rows=600, epochs=2, evaluations=1)
QUERY_VALUE = ("attention.query", "attention.value")
NORMS = ("norm.attention", "norm.ffn")
LINEARS = (*QUERY_VALUE, "attention.key", "attention.output", "ffn.in", "ffn.out")
PLACES: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "lora": (QUERY_VALUE, (1, 8, 64)),
    "serial_adapter": (("ffn",), (1, 48, 384)),
    "parallel_adapter": (("ffn",), (1, 48, 384)),
    "prefix": (("attention.kv",), (10, 192)),
    "bitfit": ((*LINEARS, *NORMS), (0,)),
    "ia3": (("attention.key", "attention.value", "ffn.hidden"), (0,)),
    "layer_norm": (NORMS, (0,)),
}


def architectures() -> Iterator[tuple[str, int, Architecture]]:
    layers = range(describe_model(MODEL).geometry.layers)
    for module, (sites, sizes) in PLACES.items():
        for size in sizes:
            placements = tuple(Placement(module, site, layer, size) for layer in layers for site in sites)
            yield module, size, Architecture(placements)


def main() -> None:
    for task in sys.argv[1:]:
        for module, size, architecture in architectures():
            for rate in RATES:
                request = TrialRequest(
                    key="rate",
                    model=MODEL,
                    task=TaskSpec(name=task),
                    architecture=architecture.to_dict(),
                    fidelity=FIDELITY,
                    training=TrainingSettings(learning_rate=rate, head_learning_rate=HEAD_RATE),
                )
                report = run(request)
                print(task, module, size, rate, report.scores.get("holdout", report.reason), flush=True)


if __name__ == "__main__":
    main()
