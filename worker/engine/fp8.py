"""Linear layers whose weights and inputs are 8-bit floats, by torch's own scaled product.

transformers' three ways to FP8 need a further package each (kernels, which fetches code from a hub
at the first batch; fbgemm-gpu; torchao). The product itself is in torch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch.nn.functional import ScalingType, scaled_mm

log = logging.getLogger(__name__)

DTYPE = torch.float8_e4m3fn
LARGEST = torch.finfo(DTYPE).max
LEAST_CAPABILITY = (8, 9)
MULTIPLE = 16  # of both sides of a weight, which the product asks for

# Three bits of mantissa: measured 0.036 for normal weights and inputs.
_TOLERANCE = 0.1


class Fp8Linear(torch.nn.Module):
    """A linear layer, one scale a row of the weight and one a token."""

    def __init__(self, linear: torch.nn.Linear, device: torch.device) -> None:
        super().__init__()
        weight, scale = _scaled(linear.weight.detach().to(device))
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("scale", scale.t().contiguous(), persistent=False)
        self.bias = linear.bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Shape (..., inputs) to (..., outputs), bfloat16."""
        rows, scale = _scaled(hidden.reshape(-1, hidden.shape[-1]))
        out: torch.Tensor = scaled_mm(
            rows,
            self.get_buffer("weight").t(),
            scale,
            ScalingType.RowWise,
            self.get_buffer("scale"),
            ScalingType.RowWise,
            output_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        if self.bias is not None:
            out = out + self.bias
        return out.reshape(*hidden.shape[:-1], -1)


def lacking(device: torch.device) -> str:
    """What the device lacks for this, in words; empty if it lacks nothing."""
    needed = ".".join(map(str, LEAST_CAPABILITY))
    if device.type != "cuda":
        return f"needs a CUDA device of compute capability {needed} or newer, not {device.type}"
    found = torch.cuda.get_device_capability(device)
    if found < LEAST_CAPABILITY:
        name = torch.cuda.get_device_name(device)
        return f"{name} has compute capability {found[0]}.{found[1]}; {needed} is needed"
    return tried(device)


@torch.inference_mode()
def tried(device: torch.device) -> str:
    """Multiply once; what went wrong, in words."""
    linear = torch.nn.Linear(256, 128, dtype=torch.bfloat16, device=device)
    hidden = torch.randn(32, 256, dtype=torch.bfloat16, device=device)
    try:
        off = (Fp8Linear(linear, device)(hidden) - linear(hidden)).float()
    except (RuntimeError, ValueError, NotImplementedError) as error:
        return f"this device has no FP8 product: {str(error).splitlines()[0]}"
    if off.norm() > _TOLERANCE * linear(hidden).float().norm():
        return "this device's FP8 product is wrong"
    return ""


def convert(model: torch.nn.Module, device: torch.device, *, keep: Sequence[str]) -> None:
    """Replace the linear layers, one at a time, but for those below a module named in `keep`."""
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not {*name.split(".")} & {*keep}
    }
    fit = {
        name: module
        for name, module in found.items()
        if module.in_features % MULTIPLE == 0 and module.out_features % MULTIPLE == 0
    }
    for name, linear in fit.items():
        model.set_submodule(name, Fp8Linear(linear, device))
    log.info("weights in fp8", extra={"layers": len(fit), "left": len(found) - len(fit)})


def _scaled(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in 8 bits and what to multiply them by, shape (rows, 1), float32."""
    # A row of zeros, as of a padding token, must not divide by zero.
    scale = rows.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    return (rows / scale).to(DTYPE), scale
