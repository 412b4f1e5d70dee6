"""A decoder layer on CUDA with what lies between its matrix products fused.

At a GPU's speed the passes over memory between the products (norms, rotation, gate, residuals)
take as long as the products. Here one product gives queries, keys and values, one the gate and what
it gates, the residuals are added by the products that they wait for, and one pass over memory is
left for each of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rerankq.errors import SettingsError
from worker.engine import compiling
from worker.engine.attention import Attention, varlen
from worker.engine.layers import PackedLayer
from worker.engine.norms import epsilon_of, is_rms, weight_of

_LAYERS = {"GemmaDecoderLayer", "LlamaDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer"}
_GATES = {"SiLUActivation": "silu", "SiLU": "silu", "GELUTanh": "gelu_tanh"}


class Passes(Protocol):
    """What is computed between the products, in float32, rounded once; see `triton_passes`."""

    def normed(self, states: Tensor, norm: Norm) -> Tensor:
        """x * w / sqrt(mean(x^2) + eps), shape (tokens, hidden)."""
        ...

    def rotated(
        self, states: Tensor, norm: Norm | None, cos: Tensor, sin: Tensor, rows: Tensor | None
    ) -> Tensor:
        """Heads, normed if need be, turned by their positions, and of these tokens.

        Shapes: states (tokens, heads, d), cos and sin (tokens, d); result (rows, heads, d).
        """
        ...

    def gated(self, both: Tensor, function: str) -> Tensor:
        """function(gate) * up, of shape (tokens, 2 * wide), the gate first."""
        ...


@dataclass(frozen=True, slots=True)
class Norm:
    """An RMSNorm's weight, float32, as it is multiplied."""

    weight: Tensor
    eps: float


class FusedDecoder(PackedLayer):
    """Does what the layer did; its weights are the layer's own, laid side by side.

    Args:
        layer: one that `fits`.
        last: compute what is behind the attention for the scored tokens alone.
    """

    def __init__(self, layer: Any, passes: Passes, *, last: bool = False) -> None:
        super().__init__(layer)
        attention, mlp = layer.self_attn, layer.mlp
        self._passes = passes
        self._last = last
        self._width: int = attention.head_dim
        self._groups = attention.k_proj.out_features // self._width
        self._scaling: float = attention.scaling
        self._before = _norm_of(layer.input_layernorm)
        self._behind = _norm_of(layer.post_attention_layernorm)
        normed = hasattr(attention, "q_norm")
        self._of_queries = _norm_of(attention.q_norm) if normed else None
        self._of_keys = _norm_of(attention.k_norm) if normed else None
        self._function = _GATES[type(mlp.act_fn).__name__]
        # The larger first: what it leaves behind has room for the smaller.
        self._gate_up, _ = _side_by_side([mlp.gate_proj, mlp.up_proj])
        self._seen, self._bias = _side_by_side(
            [attention.q_proj, attention.k_proj, attention.v_proj]
        )

    @staticmethod
    def fits(layer: Any) -> bool:
        """Whether it is known to be nothing but what this computes."""
        if type(layer).__name__ not in _LAYERS:
            return False
        attention, mlp = layer.self_attn, layer.mlp
        seen = [attention.q_proj, attention.k_proj, attention.v_proj]
        bare = [attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj]
        norms = [part for name, part in layer.named_modules() if name.endswith("norm")]
        compiled = any(part._compiled_call_impl is not None for part in layer.modules())
        width = attention.head_dim
        return (
            not compiled
            and width & (width - 1) == 0  # Triton counts by powers of two
            and getattr(attention, "sliding_window", None) is None
            and all(type(part) is nn.Linear for part in seen + bare)
            and len({part.bias is None for part in seen}) == 1
            and all(part.bias is None for part in bare)
            and all(map(is_rms, norms))
            and type(mlp.act_fn).__name__ in _GATES
        )

    def of_packed(self, states: Tensor, packed: Attention, /, *args: Any, **options: Any) -> Tensor:
        # Triton launches on the thread's current device, whichever the model's is.
        with torch.cuda.device(states.get_device()):
            return self._fused(states[0], packed, *options["position_embeddings"])[None]

    def _fused(self, flow: Tensor, packed: Attention, cos: Tensor, sin: Tensor) -> Tensor:
        """The states of all tokens, or of the scored ones, shape (tokens, hidden).

        Args:
            flow: what the layer is given; it is changed in place, since nobody else reads it.
        """
        seen = self._attended(flow, packed, cos[0], sin[0])
        if self._last:
            flow, seen = flow[packed.packing.rows], seen[packed.packing.rows]
        flow.addmm_(seen, self.layer.self_attn.o_proj.weight.t())
        both = linear(self._passes.normed(flow, self._behind), self._gate_up)
        gated = self._passes.gated(both, self._function)
        return flow.addmm_(gated, self.layer.mlp.down_proj.weight.t())

    def _attended(self, flow: Tensor, packed: Attention, cos: Tensor, sin: Tensor) -> Tensor:
        """Shape (tokens, heads * d)."""
        layout = packed.packing.varlen
        if layout is None:
            raise NotImplementedError("fused layers without the layout for CUDA")
        passes, groups = self._passes, self._groups
        states = linear(passes.normed(flow, self._before), self._seen, self._bias)
        heads = states.view(len(states), -1, self._width)
        queries, keys, values = torch.split(
            heads, [heads.shape[1] - 2 * groups, groups, groups], dim=1
        )
        queries = passes.rotated(queries, self._of_queries, cos, sin, None)
        keys = passes.rotated(keys, self._of_keys, cos, sin, layout.key_rows)
        if layout.key_rows is not None:
            values = values.index_select(0, layout.key_rows)
        return varlen(queries, keys, values, self._scaling, layout, (-1, 0)).flatten(1)


def passes(device: torch.device) -> Passes:
    """Raises: SettingsError: what is missing for them."""
    if lack := compiling.lacking(device):
        raise SettingsError(lack)
    from worker.engine.triton_passes import TritonPasses

    return TritonPasses()


def build(layers: Sequence[nn.Module], passes: Passes) -> list[nn.Module]:
    """These layers fused, one after the other, so that only one lies in memory twice."""
    built: list[nn.Module] = []
    for layer in layers:
        built.append(FusedDecoder(layer, passes, last=layer is layers[-1]))
        torch.cuda.empty_cache()  # the parts just laid side by side fit nothing else
    return built


def _norm_of(norm: Any) -> Norm:
    return Norm(weight_of(norm), epsilon_of(norm))


def _side_by_side(linears: Sequence[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    """Their weights and biases as one; from now on theirs are views of it."""
    weight = torch.cat([part.weight.detach() for part in linears])
    rows = [part.out_features for part in linears]
    for part, own in zip(linears, torch.split(weight, rows), strict=True):
        part.weight = nn.Parameter(own, requires_grad=False)
    if linears[0].bias is None:
        return weight, None
    return weight, torch.cat([part.bias.detach() for part in linears])
