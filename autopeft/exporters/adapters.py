"""AdapterHub's ``adapter_config.json``: bottlenecks, prefixes, LoRA, and unions of them, on BERT-like encoders.

A sub-layer of ``adapters`` has one bottleneck, which may be another in every layer; LoRA and prefix are the same in
all layers that have them. A union holds a configuration for each kind of bottleneck, one for LoRA and one for
prefixes, each with the layers that it leaves out. Initial weights are those of ``adapters``, whose prefixes start at a
standard deviation of 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from autopeft.architecture import Placement
from autopeft.exporters.base import Exporter, Fit
from autopeft.exporters.opened import Opened, alpha, most_common
from autopeft.modules.plan import full_options

FILE = "adapter_config.json"
TOOL = "adapters 1.3.0"
USAGE = """\
python - <<'END'
from adapters import AutoAdapterModel

model = AutoAdapterModel.from_pretrained("{model}")
model.add_adapter("autopeft", config="adapter_config.json")
model.train_adapter("autopeft")
print(model.adapter_summary())
END"""
# Encoders that normalise after the residual sum: there a sub-layer's input is what adapters gives a parallel adapter.
FAMILIES = frozenset({"bert", "roberta", "xlm-roberta", "electra", "distilbert"})
BOTTLENECKS = frozenset({"serial_adapter", "parallel_adapter"})
MATRICES = {"attention.query": "q", "attention.key": "k", "attention.value": "v"}
LINEARS = {**MATRICES, "ffn.in": "intermediate_lora", "ffn.out": "output_lora"}


def _fit(opened: Opened) -> Fit:
    placements = opened.placements
    obstacles = [
        *_of_model(opened),
        *_strangers(placements),
        *_crowded(placements),
        *_uneven_prefixes(placements),
        *_uneven_loras(placements),
    ]
    return Fit(tuple(obstacles), tuple(_bias_losses(opened) + _gate_losses(placements)))


def _of_model(opened: Opened) -> list[str]:
    if not opened.placements:
        return ["there is no module to hold: only the task head is trained"]
    family = opened.attachment.geometry.model_type
    if family in FAMILIES:
        return []
    return [f"adapters puts modules elsewhere in {family} than the recipe does; known: {', '.join(sorted(FAMILIES))}"]


def _strangers(placements: Iterable[Placement]) -> list[str]:
    known = BOTTLENECKS | {"lora", "prefix"}
    types = sorted({p.module for p in placements} - known)
    sites = sorted({p.site for p in placements if p.module == "lora"} - LINEARS.keys())
    return [
        *(f"{name}: not among what this format writes: {', '.join(sorted(known))}" for name in types),
        *(f"adapters has no LoRA at {site}" for site in sites),
    ]


def _crowded(placements: tuple[Placement, ...]) -> list[str]:
    places = [(p.layer, p.site) for p in placements if p.module in BOTTLENECKS]
    layers = sorted({place for place in places if places.count(place) > 1})
    return [f"adapters has one bottleneck at {site} of a layer; layer {layer} has two" for layer, site in layers]


def _uneven_prefixes(placements: Iterable[Placement]) -> list[str]:
    forms = {(p.size, bool(full_options(p)["gate"])) for p in placements if p.module == "prefix"}
    sizes = ", ".join(str(size) for size, _ in sorted(forms))
    return [f"adapters has one prefix length for all layers; here are {sizes}"] if len(forms) > 1 else []


def _uneven_loras(placements: tuple[Placement, ...]) -> list[str]:
    loras = [p for p in placements if p.module == "lora"]
    sites = {layer: frozenset(p.site for p in loras if p.layer == layer) for layer in {p.layer for p in loras}}
    forms = {_lora_form(p) for p in loras}
    return [
        *(
            ["adapters has LoRA at the same linears in all layers that have any"]
            if len(set(sites.values())) > 1
            else []
        ),
        *(["adapters has one rank and alpha for all LoRAs"] if len(forms) > 1 else []),
    ]


def _lora_form(placement: Placement) -> tuple[int, float, bool]:
    return placement.size, float(alpha(placement)), bool(full_options(placement)["gate"])


def _bias_losses(opened: Opened) -> list[str]:
    bare = [p for p in opened.placements if p.module in BOTTLENECKS and not full_options(p)["bias"]]
    sites = [opened.attachment.geometry.site(p.site, p.layer) for p in bare]
    more = sum(p.size + site.out_width for p, site in zip(bare, sites, strict=True))
    return [f"bottlenecks of adapters have biases, these have none: {more:,} parameters more"] if bare else []


def _gate_losses(placements: Iterable[Placement]) -> list[str]:
    gated = sorted({p.module for p in placements if full_options(p).get("gate")})
    return [f"gates of {name}: adapters takes one for all tokens of a row, the padding included" for name in gated]


def _files(opened: Opened) -> dict[str, bytes]:
    configs = [*_bottlenecks(opened), *_loras(opened), *_prefixes(opened)]
    document = {
        "config": configs[0] if len(configs) == 1 else {"architecture": "union", "configs": configs},
        "model_name": opened.recipe.base_model.name,
        "model_type": opened.attachment.geometry.model_type,
        "hidden_size": opened.attachment.geometry.width,
        "version": TOOL.replace(" ", "."),
        "what is not as in the recipe": list(_fit(opened).losses),
    }
    return {FILE: (json.dumps(document, indent=2) + "\n").encode()}


def _bottlenecks(opened: Opened) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[Placement]] = {}
    for p in opened.placements:
        if p.module in BOTTLENECKS:
            options = full_options(p)
            groups.setdefault((p.site, p.module, options.get("scale", 1.0), options["gate"]), []).append(p)
    return [
        {
            "mh_adapter": site == "attention",
            "output_adapter": site == "ffn",
            "reduction_factor": _reduction_factors(opened.attachment.geometry.width, members),
            "non_linearity": "relu",
            "original_ln_before": False,
            "original_ln_after": True,
            "init_weights": "mam_adapter",
            "is_parallel": module == "parallel_adapter",
            "scaling": float(scale),
            "use_gating": gate,
            "leave_out": _leave_out(opened, members),
        }
        for (site, module, scale, gate), members in groups.items()
    ]


def _reduction_factors(width: int, placements: list[Placement]) -> float | dict[str, float]:
    factors = {str(p.layer): _reduction_factor(width, p.size) for p in placements}
    default = most_common(factors.values())
    if len(set(factors.values())) == 1:
        return default
    return {**{layer: factor for layer, factor in factors.items() if factor != default}, "default": default}


def _reduction_factor(width: int, size: int) -> float:
    # The size that is read from it is the width divided by it and rounded down.
    factor = width / size
    return factor if width // factor == size else width / (size + 0.5)


def _loras(opened: Opened) -> list[dict[str, Any]]:
    members = [p for p in opened.placements if p.module == "lora"]
    if not members:
        return []
    sites = [site for site in LINEARS if any(p.site == site for p in members)]
    rank, scale, gate = _lora_form(members[0])
    return [
        {
            "architecture": "lora",
            "selfattn_lora": any(site in MATRICES for site in sites),
            "intermediate_lora": "ffn.in" in sites,
            "output_lora": "ffn.out" in sites,
            "attn_matrices": [MATRICES[site] for site in sites if site in MATRICES],
            "r": rank,
            "alpha": scale,
            "use_gating": gate,
            "leave_out": _leave_out(opened, members),
        }
    ]


def _prefixes(opened: Opened) -> list[dict[str, Any]]:
    members = [p for p in opened.placements if p.module == "prefix"]
    if not members:
        return []
    return [
        {
            "architecture": "prefix_tuning",
            "flat": True,
            "prefix_length": members[0].size,
            "use_gating": full_options(members[0])["gate"],
            "leave_out": _leave_out(opened, members),
        }
    ]


def _leave_out(opened: Opened, placements: Iterable[Placement]) -> list[int]:
    kept = {p.layer for p in placements}
    return [layer for layer in range(opened.attachment.geometry.layers) if layer not in kept]


EXPORTER = Exporter(
    summary="adapter_config.json for AdapterHub's adapters; bottlenecks, prefixes, LoRA and unions, on BERT-like ones",
    tool=TOOL,
    usage=USAGE,
    fit=_fit,
    files=_files,
)
