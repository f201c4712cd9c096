r"""Draws from a coupling spline flow for one window, several times faster than through the flow's own modules.

The same numbers as ``flow(c).transform.inv(noise)``, laid out for one context and many draws: draws on the last axis,
the context multiplied once a window instead of once a draw, and only the bin that holds a draw evaluated. Each
coordinate inverts the rational-quadratic spline

$$
y = y_0 + \frac{\Delta_y (s \xi^2 + d_0 \xi (1 - \xi))}{s + (d_0 + d_1 - 2 s) \xi (1 - \xi)},
\qquad \xi = \frac{x - x_0}{\Delta_x}, \quad s = \frac{\Delta_y}{\Delta_x},
$$

outside $[-5, 5]$ the identity.

References:
    | Neural Spline Flows (Durkan et al., 2019), equations 4 and 6-8, https://arxiv.org/abs/1906.04032
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .centring import Centring
from .guess_centring import GuessCentring
from .linear_centring import LinearCentring

__all__ = ["invert_flow", "invert_flows"]

_BOUND = 5.0
_LOG_SLOPE = math.log(1e-3)  # zuko's smallest slope, which bounds the raw spline parameters


def invert_flow(
    flow: Any,
    context: Float[Tensor, " context"],
    noise: Float[Tensor, "draw D"],
    given: Float[Tensor, "draw G"] | None = None,
) -> Float[Tensor, "draw D"]:
    r"""Maps noise to draws given one context.

    Arguments:
        flow: A zuko flow of general coupling transforms with rational-quadratic splines.
        context: Embedding of a window.
        noise: Draws of the base distribution.
        given: What each draw is conditioned on besides; the last part of the flow's context. None for nothing.

    Returns:
        Draws of the standardised outputs.

    Example:
        >>> from pulsebayes.inference.npe import NPE, PRESETS
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> npe = NPE(OutputSpace.from_names(("HR", "SV")), PRESETS["small"])
        >>> c, noise = torch.randn(48), torch.randn(7, 2)
        >>> with torch.no_grad():
        ...     same = torch.allclose(invert_flow(npe.flow, c, noise), npe.flow(c).transform.inv(noise), atol=1e-4)
        >>> same
        True
    """
    if noise.shape[-1] == 1:  # one output is not coupled to any other
        own = context if given is None else torch.cat((context.expand(len(given), -1), given), -1)
        return flow(own).transform.inv(noise)  # type: ignore[no-any-return]
    also = None if given is None else given.T.contiguous()
    z = noise.T.contiguous()
    for transform in reversed(flow.transform.transforms):
        if isinstance(transform, (Centring, GuessCentring, LinearCentring)):
            z = transform(context).inv(z.T).T
            continue
        kept, moved = transform.mask.nonzero().squeeze(-1), (~transform.mask).nonzero().squeeze(-1)
        phi = _hyper(transform.hyper, z[kept], context, also)
        phi = phi.view(len(moved), -1, phi.shape[-1])
        z = z.index_copy(0, moved, _invert_spline(phi, z[moved]))
    return z.T


def invert_flows(
    flow: Any, contexts: Float[Tensor, "W context"], noise: Float[Tensor, "W draw D"]
) -> Float[Tensor, "W draw D"]:
    r"""Maps noise to draws given several contexts, as many draws of each.

    Arguments:
        flow: A zuko flow of general coupling transforms with rational-quadratic splines.
        contexts: Embeddings of windows.
        noise: Draws of the base distribution for each.

    Returns:
        Draws of the standardised outputs.

    Example:
        >>> from pulsebayes.inference.npe import NPE, PRESETS
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> npe = NPE(OutputSpace.from_names(("HR", "SV")), PRESETS["small"])
        >>> contexts, noise = torch.randn(3, 48), torch.randn(3, 7, 2)
        >>> with torch.no_grad():
        ...     each = torch.stack([invert_flow(npe.flow, c, z) for c, z in zip(contexts, noise, strict=True)])
        ...     same = torch.allclose(invert_flows(npe.flow, contexts, noise), each, atol=1e-4)
        >>> same
        True
    """
    n_windows, n, dim = noise.shape
    if dim == 1:
        return torch.stack([invert_flow(flow, c, z) for c, z in zip(contexts, noise, strict=True)])
    each = contexts.repeat_interleave(n, 0)
    z = noise.permute(2, 0, 1).reshape(dim, -1)
    for transform in reversed(flow.transform.transforms):
        if isinstance(transform, (Centring, GuessCentring, LinearCentring)):
            z = transform(each).inv(z.T).T
            continue
        kept, moved = transform.mask.nonzero().squeeze(-1), (~transform.mask).nonzero().squeeze(-1)
        first, *rest = [layer for layer in transform.hyper if hasattr(layer, "weight")]
        constant = first.weight[:, len(kept) :] @ contexts.T + first.bias[:, None]
        h = (first.weight[:, : len(kept)] @ z[kept]).view(len(constant), n_windows, n) + constant[:, :, None]
        h = h.flatten(1)
        for layer in rest:
            h = torch.addmm(layer.bias[:, None], layer.weight, h.relu_())
        z = z.index_copy(0, moved, _invert_spline(h.view(len(moved), -1, h.shape[-1]), z[moved]))
    return z.reshape(dim, n_windows, n).permute(1, 2, 0)


def _hyper(
    net: Any, z: Float[Tensor, "A draw"], context: Float[Tensor, " context"], also: Float[Tensor, "G draw"] | None
) -> Float[Tensor, "P draw"]:
    """The transform's network with draws on the last axis."""
    layers = [layer for layer in net if hasattr(layer, "weight")]
    first, known = layers[0], len(z) + len(context)
    constant = first.weight[:, len(z) : known] @ context + first.bias
    h = torch.addmm(constant[:, None], first.weight[:, : len(z)], z)
    if also is not None:
        h = torch.addmm(h, first.weight[:, known:], also)
    for layer in layers[1:]:
        h = torch.addmm(layer.bias[:, None], layer.weight, h.relu_())
    return h


def _invert_spline(phi: Float[Tensor, "B P draw"], y: Float[Tensor, "B draw"]) -> Float[Tensor, "B draw"]:
    """Inverts a monotone rational-quadratic spline for each coordinate and draw."""
    bins = (phi.shape[1] + 1) // 3
    lengths = phi[:, : 2 * bins]
    lengths = (lengths / (1 + (lengths * (2 / _LOG_SLOPE)).abs_())).exp_()
    lengths = lengths.view(phi.shape[0], 2, bins, -1)
    lengths = lengths * (2 * _BOUND / lengths.sum(2, keepdim=True))
    ends = [torch.full_like(lengths[:, :, 0], -_BOUND)]
    for j in range(1, bins):
        ends.append(ends[-1] + lengths[:, :, j - 1])
    knots = torch.stack(ends)
    bin_of = (y > knots[1:, :, 1]).sum(0)  # the number of knots below
    at = bin_of[:, None]
    x0, y0 = (knots[:, :, part].gather(0, bin_of[None])[0] for part in (0, 1))
    dx, dy = (lengths[:, part].gather(1, at)[:, 0] for part in (0, 1))
    slopes = torch.nn.functional.pad(phi[:, 2 * bins :], (0, 0, 1, 1))
    d0, d1 = (slopes.gather(1, at + after)[:, 0] for after in (0, 1))
    d0 = (d0 / (1 + (d0 / _LOG_SLOPE).abs())).exp()
    d1 = (d1 / (1 + (d1 / _LOG_SLOPE).abs())).exp()
    s = dy / dx
    rise = (y - y0).clamp_min(0.0)
    bend = d0 + d1 - 2 * s
    a = dy * (s - d0) + rise * bend
    b = dy * d0 - rise * bend
    c = -s * rise
    xi = 2 * c / (-b - (b * b - 4 * a * c).clamp_min(0.0).sqrt())
    return torch.where(y.abs() < _BOUND, x0 + xi * dx, y)
