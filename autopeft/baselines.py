"""Hand-made configurations that people pick by habit; they are the first trials of every search."""

from __future__ import annotations

from collections.abc import Iterable

from autopeft.architecture import Architecture, Placement
from autopeft.geometry import ModelGeometry

HEAD_ONLY = "head only"


def baselines(geometry: ModelGeometry) -> dict[str, Architecture]:
    """Return the baselines by name, cheapest idea first; those that the model has no sites for are left out.

    LoRA as in Hu et al. 2022 (r=8 on query and value), Pfeiffer et al. 2021 (48), prefix tuning (10), BitFit, (IA)^3,
    and MAM and UniPELT (without its gates) with the sizes that AutoPEFT's Table 1 gives them: MAM is prefix 30 and a
    parallel adapter of half the width, UniPELT is LoRA r=8, prefix 10 and serial adapter 48.
    """
    fused = "attention.qkv" in geometry.site_names
    query_value = ["attention.qkv"] if fused else ["attention.query", "attention.value"]
    key_value = ["attention.qkv"] if fused else ["attention.key", "attention.value"]
    linear_and_norm = [site for site in geometry.site_names if _holds_bias(site)]

    def place(module: str, sites: Iterable[str], size: int = 0) -> list[Placement]:
        found = [site for site in geometry.sites if site.name in sites]
        return [Placement(module, site.name, site.layer, size) for site in found]

    lora = place("lora", query_value, 8)
    serial = place("serial_adapter", ["ffn"], 48)
    prefix = place("prefix", ["attention.kv"], 10)
    parts: dict[str, list[list[Placement]]] = {
        "(IA)^3": [place("ia3", [*key_value, "ffn.hidden"])],
        "BitFit": [place("bitfit", linear_and_norm)],
        "prefix 10": [prefix],
        "LoRA r=8 q,v": [lora],
        "Pfeiffer adapter 48": [serial],
        "UniPELT, no gates": [lora, prefix, serial],
        "MAM": [place("prefix", ["attention.kv"], 30), place("parallel_adapter", ["ffn"], geometry.width // 2)],
    }
    made = {HEAD_ONLY: Architecture()}
    for name, groups in parts.items():
        if all(groups):
            made[name] = Architecture(tuple(placement for group in groups for placement in group))
    return made


def _holds_bias(site: str) -> bool:
    return site.startswith("norm.") or ("." in site and not site.endswith((".kv", ".hidden")))
