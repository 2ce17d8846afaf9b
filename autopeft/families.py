"""Where each model family keeps the parts that PEFT modules attach to: one small table per family.

A table gives module paths relative to the base model (without its task head) and widths read from the config.
Adding a family is one function and one entry of :data:`FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Attention:
    """One attention sub-layer: the module that calls the attention function, and its linears.

    Attributes:
        module: path of the attention module; its first argument is the sub-layer's input.
        linears: role (``query``, ``key``, ``value``, ``output``, or ``qkv`` where fused) to path.
        query_width, kv_width: output widths of the query, and of the key and value projections.
        takes_prefix: whether it calls transformers' attention interface, which prefix tuning needs.
    """

    module: str
    linears: Mapping[str, str]
    query_width: int
    kv_width: int
    takes_prefix: bool = True


@dataclass(frozen=True)
class Block:
    """A stack of like layers. Paths hold ``{i}`` for the layer's index inside the stack.

    Attributes:
        count: number of layers.
        width: width of the hidden states.
        ffn_width: width between the feed-forward linears.
        attention: sub-layers by prefix of their sites' names (``attention``, ``cross_attention``).
        ffn_entry: path of the module whose input is the feed-forward sub-layer's input.
        ffn_linears: role (``in``, ``gate``, ``out``) to path.
        norms: role to path of the layer's norms.
        final_norm: path of the norm after the last layer, if the family has one.
    """

    count: int
    width: int
    ffn_width: int
    attention: Mapping[str, Attention]
    ffn_entry: str
    ffn_linears: Mapping[str, str]
    norms: Mapping[str, str] = field(default_factory=dict)
    final_norm: str | None = None

    @property
    def layer(self) -> str:
        """Path of a layer's own module, which all paths in it begin with."""
        return self.ffn_entry.partition("{i}")[0] + "{i}"


def _bert(c: Config) -> list[Block]:
    return [_bert_like(c, "attention.self", {"query": "query", "key": "key", "value": "value"}, takes_prefix=True)]


def _deberta_v2(c: Config) -> list[Block]:
    names = {"query": "query_proj", "key": "key_proj", "value": "value_proj"}
    return [_bert_like(c, "attention.self", names, takes_prefix=False)]


def _bert_like(c: Config, module: str, names: Mapping[str, str], *, takes_prefix: bool) -> Block:
    layer, width = "encoder.layer.{i}.", c["hidden_size"]
    linears = {role: f"{layer}{module}.{name}" for role, name in names.items()}
    linears["output"] = f"{layer}attention.output.dense"
    return Block(
        count=c["num_hidden_layers"],
        width=width,
        ffn_width=c["intermediate_size"],
        attention={"attention": Attention(f"{layer}{module}", linears, width, width, takes_prefix)},
        ffn_entry=f"{layer}intermediate",
        ffn_linears={"in": f"{layer}intermediate.dense", "out": f"{layer}output.dense"},
        norms={"attention": f"{layer}attention.output.LayerNorm", "ffn": f"{layer}output.LayerNorm"},
    )


def _distilbert(c: Config) -> list[Block]:
    layer, width = "transformer.layer.{i}.", c["dim"]
    roles = {"query": "q_lin", "key": "k_lin", "value": "v_lin", "output": "out_lin"}
    linears = {role: f"{layer}attention.{name}" for role, name in roles.items()}
    return [
        Block(
            count=c["n_layers"],
            width=width,
            ffn_width=c["hidden_dim"],
            attention={"attention": Attention(f"{layer}attention", linears, width, width)},
            ffn_entry=f"{layer}ffn",
            ffn_linears={"in": f"{layer}ffn.lin1", "out": f"{layer}ffn.lin2"},
            norms={"attention": f"{layer}sa_layer_norm", "ffn": f"{layer}output_layer_norm"},
        )
    ]


def _gpt2(c: Config) -> list[Block]:
    layer, width = "h.{i}.", c["n_embd"]
    linears = {"qkv": f"{layer}attn.c_attn", "output": f"{layer}attn.c_proj"}
    return [
        Block(
            count=c["n_layer"],
            width=width,
            ffn_width=c["n_inner"] or 4 * width,
            attention={"attention": Attention(f"{layer}attn", linears, width, width)},
            ffn_entry=f"{layer}mlp",
            ffn_linears={"in": f"{layer}mlp.c_fc", "out": f"{layer}mlp.c_proj"},
            norms={"attention": f"{layer}ln_1", "ffn": f"{layer}ln_2"},
            final_norm="ln_f",
        )
    ]


def _opt(c: Config) -> list[Block]:
    layer, width = "decoder.layers.{i}.", c["hidden_size"]
    roles = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
    linears = {role: f"{layer}self_attn.{name}" for role, name in roles.items()}
    return [
        Block(
            count=c["num_hidden_layers"],
            width=width,
            ffn_width=c["ffn_dim"],
            attention={"attention": Attention(f"{layer}self_attn", linears, width, width)},
            ffn_entry=f"{layer}fc1",
            ffn_linears={"in": f"{layer}fc1", "out": f"{layer}fc2"},
            norms={"attention": f"{layer}self_attn_layer_norm", "ffn": f"{layer}final_layer_norm"},
            final_norm="decoder.final_layer_norm" if c.get("do_layer_norm_before", True) else None,
        )
    ]


def _llama(c: Config) -> list[Block]:
    layer, width, heads = "layers.{i}.", c["hidden_size"], c["num_attention_heads"]
    head_width = c.get("head_dim") or width // heads
    roles = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
    linears = {role: f"{layer}self_attn.{name}" for role, name in roles.items()}
    kv_width = (c.get("num_key_value_heads") or heads) * head_width
    return [
        Block(
            count=c["num_hidden_layers"],
            width=width,
            ffn_width=c["intermediate_size"],
            attention={"attention": Attention(f"{layer}self_attn", linears, heads * head_width, kv_width)},
            ffn_entry=f"{layer}mlp",
            ffn_linears={
                "in": f"{layer}mlp.up_proj",
                "gate": f"{layer}mlp.gate_proj",
                "out": f"{layer}mlp.down_proj",
            },
            norms={"attention": f"{layer}input_layernorm", "ffn": f"{layer}post_attention_layernorm"},
            final_norm="norm",
        )
    ]


def _t5(c: Config) -> list[Block]:
    decoder_layers = c.get("num_decoder_layers") or c["num_layers"]
    return [_t5_stack(c, "encoder", c["num_layers"]), _t5_stack(c, "decoder", decoder_layers)]


def _t5_stack(c: Config, stack: str, count: int) -> Block:
    layer, decoder = f"{stack}.block.{{i}}.layer.", stack == "decoder"
    inner = c["num_heads"] * c["d_kv"]

    def attention(module: str) -> Attention:
        roles = {"query": "q", "key": "k", "value": "v", "output": "o"}
        return Attention(module, {role: f"{module}.{name}" for role, name in roles.items()}, inner, inner)

    ffn = f"{layer}{2 if decoder else 1}."
    dense = f"{ffn}DenseReluDense"
    gated = str(c.get("feed_forward_proj", "relu")).startswith("gated")
    linears = {"in": f"{dense}.wi_1", "gate": f"{dense}.wi_0"} if gated else {"in": f"{dense}.wi"}
    sublayers = {"attention": attention(f"{layer}0.SelfAttention")}
    norms = {"attention": f"{layer}0.layer_norm", "ffn": f"{ffn}layer_norm"}
    if decoder:
        sublayers["cross_attention"] = attention(f"{layer}1.EncDecAttention")
        norms["cross_attention"] = f"{layer}1.layer_norm"
    return Block(
        count=count,
        width=c["d_model"],
        ffn_width=c["d_ff"],
        attention=sublayers,
        ffn_entry=dense,
        ffn_linears={**linears, "out": f"{dense}.wo"},
        norms=norms,
        final_norm=f"{stack}.final_layer_norm",
    )


FAMILIES: Mapping[str, Callable[[Config], list[Block]]] = {
    "bert": _bert,
    "roberta": _bert,
    "xlm-roberta": _bert,
    "camembert": _bert,
    "electra": _bert,
    "deberta-v2": _deberta_v2,
    "distilbert": _distilbert,
    "gpt2": _gpt2,
    "opt": _opt,
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "qwen3": _llama,
    "t5": _t5,
    "mt5": _t5,
}
# They count positions from the one after the padding token's id.
_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert")
_RELATIVE = ("t5", "mt5")


def positions(config: Config) -> int | None:
    """Return how many tokens a model of a known family takes at most; None where positions are relative."""
    family = config["model_type"]
    if family in _RELATIVE or (family == "deberta-v2" and not config.get("position_biased_input", True)):
        return None
    most = config.get("max_position_embeddings", config.get("n_positions"))
    if most is None:
        return None
    return int(most) - (int(config.get("pad_token_id") or 0) + 1 if family in _AFTER_PADDING else 0)
