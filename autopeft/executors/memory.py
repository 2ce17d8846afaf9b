"""How much of a GPU's memory a run may need, estimated before anything is loaded.

It decides how many runs share a GPU, so it aims high. A run that needs more than there is halves its micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from autopeft.architecture import Quantisation
from autopeft.base_models import BaseModel
from autopeft.executors.placement import GpuNeed
from autopeft.messages import SearchSpec

# Bytes a weight of the frozen base, with the scales that its quantisation stores.
BYTES = {"none": 2.0, "int8": 1.1, "nf4": 0.6}
BYTES_FLOAT32 = 4.0
# What a layer keeps for the backward pass, in bytes for each token and unit of width at 16 bits (Korthikanti et al.
# 2022, equation 1, without the attention matrix, which fused attention never stores).
ACTIVATION_BYTES = 34
# Modules of a twentieth of the base are large; a trained weight has a gradient and two moments, in float32 each.
TRAINED_SHARE, TRAINED_BYTES = 0.05, 16
CONTEXT_BYTES = 750_000_000  # CUDA's own, and its kernels
MARGIN = 1.25


def gpu_need(base: BaseModel, spec: SearchSpec, quantisations: Sequence[Quantisation] | None = None) -> GpuNeed:
    """Return the expected need of a search's workers.

    Args:
        base: the search's base model.
        spec: its batch size, text length and precision.
        quantisations: ways to store the base that the space chooses among; None for the search's own.
    """
    wide = spec.precision == "float32"
    stored = (BYTES_FLOAT32 if way == "none" and wide else BYTES[way] for way in quantisations or (spec.quantise,))
    tokens = spec.training.batch_size * spec.task.max_length
    kept = tokens * base.geometry.layers * base.geometry.width * ACTIVATION_BYTES * (2 if wide else 1)
    trained = base.parameters * TRAINED_SHARE * TRAINED_BYTES
    return GpuNeed(round(MARGIN * base.parameters * max(stored)) + CONTEXT_BYTES, round(MARGIN * (kept + trained)))
