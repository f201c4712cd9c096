r"""Star-mesh elimination of a network of admittances, structure planned once, numbers never subtracted.

A node $k$ with shunt $s_k$ to ground, injected current $I_k$ and branches $y_{kj}$ is replaced, with
$S = s_k + \sum_j y_{kj}$, by

$$y_{ij} \mathrel{+}= \frac{y_{ki}y_{kj}}{S},\qquad s_j \mathrel{+}= \frac{y_{kj}s_k}{S},\qquad
  I_j \mathrel{+}= \frac{y_{kj}I_k}{S},$$

until the root remains, $P_0 = I_0/s_0$; pressures follow backwards, $P_k = (I_k + \sum_j y_{kj}P_j)/S$, along the
few nodes that the requested sites need. Shunts are kept apart from branches: the diagonal of a nodal matrix, where
large branch admittances swamp small shunts in single precision, is never formed.

References:
    Rosen A. (1924), A new network theorem, J IEE 62:916 (star-mesh); the order is minimum degree
    (George & Liu 1989, SIAM Rev 31:1).
"""

from __future__ import annotations

import dataclasses
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from .transmission import Chain


@dataclasses.dataclass(frozen=True, eq=False)
class Steps:
    r"""Eliminations in a row, padded to one degree D; every array has one row a step.

    Fill-in branches and changes of a node live in a few registers, reused once read: a scan over steps then carries
    little, and XLA copies what a scan carries at every step. The last register is always zero, the one before takes
    what padding writes.

    Arguments:
        node: The node that leaves, shape (M,).
        near: Its neighbours, padded with the dummy node, shape (M, D).
        branch: Original branch to each neighbour, the dummy where there is none, shape (M, D).
        fill: Register of the fill-in to each neighbour, the zero register where there is none, shape (M, D).
        own: Register of the node's changes, the zero register where there are none, shape (M,).
        mesh: Register of each pair of neighbours that is written, shape (M, Q).
        mesh_keep: 1 where that register already holds the branch, 0 where it starts, shape (M, Q).
        share: Register of each neighbour's changes that is written, shape (M, D).
        share_keep: 1 where that register already holds them, shape (M, D).

    Example:
        >>> plan_elimination(np.array([0, 1]), np.array([1, 2]), (0,)).first.node.tolist()
        [2, 1]
    """

    node: Int[np.ndarray, " M"]
    near: Int[np.ndarray, "M D"]
    branch: Int[np.ndarray, "M D"]
    fill: Int[np.ndarray, "M D"]
    own: Int[np.ndarray, " M"]
    mesh: Int[np.ndarray, "M Q"]
    mesh_keep: Float[np.ndarray, "M Q"]
    share: Int[np.ndarray, "M D"]
    share_keep: Float[np.ndarray, "M D"]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """In which order nodes leave: first those no requested pressure needs, then those on the way to the root.

    Arguments:
        n_nodes: Number of nodes, the root is node 0; row `n_nodes` is a dummy.
        piece_edge: Branch of each piece, shape (P,).
        n_edges: Number of branches; row `n_edges` is a dummy.
        registers: Number of branch and of node registers.
        root: Register of the root's changes.
        first: Steps that need not be undone.
        last: Steps that back-substitution undoes.

    Example:
        >>> plan_elimination(np.array([0, 1]), np.array([1, 2]), (0, 1)).last.node.tolist()
        [1]
    """

    n_nodes: int
    piece_edge: Int[np.ndarray, " P"]
    n_edges: int
    registers: tuple[int, int]
    root: int
    first: Steps
    last: Steps


def _original_edges(
    inlet: Int[np.ndarray, " P"], outlet: Int[np.ndarray, " P"]
) -> tuple[dict[frozenset[int], int], np.ndarray]:
    edges: dict[frozenset[int], int] = {}
    of_piece = [
        edges.setdefault(frozenset(pair), len(edges)) for pair in zip(inlet.tolist(), outlet.tolist(), strict=True)
    ]
    return edges, np.array(of_piece)


def _order(edges: dict[frozenset[int], int], late: set[int]) -> list[tuple[int, list[int]]]:
    """Nodes with their neighbours in order of elimination: minimum degree, `late` nodes after all others."""
    graph: dict[int, set[int]] = {}
    for i, j in map(sorted, edges):
        graph.setdefault(i, set()).add(j)
        graph.setdefault(j, set()).add(i)
    order: list[tuple[int, list[int]]] = []
    recent: list[int] = []
    while len(graph) > 1:
        degree = {n: (n in late, len(near), -recent.count(n), n) for n, near in graph.items() if n != 0}
        node = min(degree, key=degree.__getitem__)
        near = sorted(graph.pop(node))
        if not near:
            raise ValueError(f"every node must be connected to the root, got node {node} apart; check the segments")
        for i in near:
            graph[i].discard(node)
        for i, j in combinations(near, 2):
            graph[i].add(j)
            graph[j].add(i)
        recent = near
        order.append((node, near))
    return order


def _needed(order: list[tuple[int, list[int]]], nodes: tuple[int, ...]) -> set[int]:
    """Nodes whose pressure back-substitution must find to know those asked for."""
    wanted = set(nodes)
    for node, near in order:
        if node in wanted:
            wanted.update(near)
    return wanted


class _Registers:
    """Hands out the lowest free register and remembers the most that were ever in use."""

    def __init__(self) -> None:
        self.held: dict[object, int] = {}
        self.count = 0

    def write(self, key: object) -> tuple[int, float]:
        if key in self.held:
            return self.held[key], 1.0
        free = next(i for i in range(self.count + 1) if i not in self.held.values())
        self.count = max(self.count, free + 1)
        self.held[key] = free
        return free, 0.0

    def read(self, key: object) -> int | None:
        return self.held.pop(key, None)


def plan_elimination(inlet: Int[np.ndarray, " P"], outlet: Int[np.ndarray, " P"], nodes: tuple[int, ...]) -> Plan:
    """Plan the elimination of a network by minimum degree, the root last.

    Arguments:
        inlet: Node at the inlet of each piece, shape (P,).
        outlet: Node at its outlet, shape (P,).
        nodes: Nodes at which the pressure will be wanted.

    Returns:
        The plan.

    Raises:
        ValueError: A node cannot be reached from the root.

    Example:
        >>> plan_elimination(np.array([0, 0, 1]), np.array([1, 2, 2]), (0,)).n_edges
        3
    """
    edges, of_piece = _original_edges(inlet, outlet)
    n_nodes = int(max(inlet.max(), outlet.max())) + 1
    late = _needed(_order(edges, set()), nodes)
    order = _order(edges, late)
    degree = max(len(near) for _, near in order)
    fills, owns = _Registers(), _Registers()
    rows: list[list[Any]] = []
    for node, near in order:
        pairs = [frozenset(pair) for pair in combinations(near, 2)]
        fill = [fills.read(frozenset((node, j))) for j in near]
        own = owns.read(node)
        meshes = dict(zip(combinations(range(len(near)), 2), (fills.write(pair) for pair in pairs), strict=True))
        shares = [owns.write(j) for j in near]
        branch = [edges.get(frozenset((node, j)), len(edges)) for j in near]
        rows.append([node, near, branch, fill, own, meshes, shares])
    root = owns.read(0)
    count = (fills.count + 2, owns.count + 2)
    needed = _needed(order, nodes)
    split = next((i for i, (node, _) in enumerate(order) if node in needed), len(order))
    sizes = (n_nodes, len(edges), degree, count)
    return Plan(
        n_nodes, of_piece, len(edges), count, count[1] - 1 if root is None else root,
        _padded(rows[:split], *sizes), _padded(rows[split:], *sizes),
    )  # fmt: skip


def _padded(rows: list[list[Any]], n_nodes: int, n_edges: int, degree: int, count: tuple[int, int]) -> Steps:
    pairs = list(combinations(range(degree), 2))
    m = len(rows)
    node, own = np.zeros(m, int), np.full(m, count[1] - 1)
    near, branch = np.full((m, degree), n_nodes), np.full((m, degree), n_edges)
    fill, share = np.full((m, degree), count[0] - 1), np.full((m, degree), count[1] - 2)
    mesh, mesh_keep = np.full((m, len(pairs)), count[0] - 2), np.zeros((m, len(pairs)))
    share_keep = np.zeros((m, degree))
    for row, (name, around, branches, fills, changes, meshes, shares) in enumerate(rows):
        node[row] = name
        own[row] = own[row] if changes is None else changes
        for j in range(len(around)):
            near[row, j], branch[row, j] = around[j], branches[j]
            fill[row, j] = fill[row, j] if fills[j] is None else fills[j]
            share[row, j], share_keep[row, j] = shares[j]
        for pair, (register, keep) in meshes.items():
            mesh[row, pairs.index(pair)], mesh_keep[row, pairs.index(pair)] = register, keep
    return Steps(node, near, branch, fill, own, mesh, mesh_keep, share, share_keep)


def assemble(
    plan: Plan, chain: Chain, inlet: Int[np.ndarray, " P"], outlet: Int[np.ndarray, " P"]
) -> tuple[Complex[Array, "E F"], Complex[Array, "N F"]]:
    r"""Branches and shunts of the pieces of one subject as pi circuits: $1/B$, and $(D-1)/B$, $(A-1)/B$ at the ends.

    Arguments:
        plan: The elimination plan.
        chain: Two-ports with fields of shape (P, F).
        inlet: Node at the inlet of each piece.
        outlet: Node at its outlet.

    Returns:
        Branches (E + 1, F) and shunts (N + 1, F), dummies last [mL/s/mmHg].

    Example:
        >>> chain = Chain(*(jnp.full((1, 1), v + 0j) for v in (0.0, 2.0, 0.0, 0.0)))
        >>> plan = plan_elimination(np.array([0]), np.array([1]), (0,))
        >>> complex(assemble(plan, chain, np.array([0]), np.array([1]))[0][0, 0])
        (0.5+0j)
    """
    branch = 1 / chain.b
    edges = jnp.zeros((plan.n_edges + 1, branch.shape[-1]), branch.dtype).at[plan.piece_edge].add(branch)
    shunts = jnp.zeros((plan.n_nodes + 1, branch.shape[-1]), branch.dtype)
    return edges, shunts.at[inlet].add(chain.d * branch).at[outlet].add(chain.a * branch)


def _row(rows: Array, index: Array, axis: int) -> Array:
    row: Array = jax.lax.dynamic_index_in_dim(rows, index, axis, keepdims=False)
    return row


def solve_nodes(
    plan: Plan,
    edges: Complex[Array, "B E F"],
    shunts: Complex[Array, "B N F"],
    currents: Complex[Array, "B N F"],
    nodes: tuple[int, ...],
) -> Complex[Array, "B K F"]:
    """Pressures at some nodes of a batch of networks with injected currents.

    Arguments:
        plan: The elimination plan, made for these nodes.
        edges: Branch admittances, dummy row last [mL/s/mmHg].
        shunts: Admittance of each node to ground, dummy row last [mL/s/mmHg].
        currents: Flow injected at each node, dummy row last [mL/s].
        nodes: Nodes at which the pressure is wanted.

    Returns:
        Pressures [mmHg], with shape (B, K, F).

    Example:
        >>> plan = plan_elimination(np.array([0]), np.array([1]), (0, 1))
        >>> row = lambda *v: jnp.array(v, dtype=jnp.complex64)[None, :, None]
        >>> p = solve_nodes(plan, row(1, 0), row(0, 1, 0), row(1, 0, 0), (0, 1))
        >>> p[0, :, 0].real.tolist()
        [2.0, 1.0]
    """
    nodal = jnp.stack([shunts, currents])
    lanes = (edges.shape[0], edges.shape[2])
    registers = (
        jnp.zeros((plan.registers[0], *lanes), edges.dtype), jnp.zeros((plan.registers[1], 2, *lanes), edges.dtype)
    )  # fmt: skip
    pairs = list(combinations(range(plan.first.near.shape[1]), 2))

    def eliminate(
        carry: tuple[Array, Array], step: tuple[Array, ...]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        fills, owns = carry
        node, _, branch, fill, own_at, mesh, mesh_keep, share, share_keep = step
        y = [_row(edges, b, 1) + _row(fills, f, 0) for b, f in zip(branch, fill, strict=True)]
        own = _row(nodal, node, 2) + _row(owns, own_at, 0)
        inverse = 1 / (own[0] + sum(y[1:], y[0]))
        for (i, j), at, keep in zip(pairs, mesh, mesh_keep, strict=True):
            new = keep * _row(fills, at, 0) + y[i] * (y[j] * inverse)
            fills = jax.lax.dynamic_update_index_in_dim(fills, new, at, 0)
        for branch_y, at, keep in zip(y, share, share_keep, strict=True):
            new = keep * _row(owns, at, 0) + (branch_y * inverse) * own
            owns = jax.lax.dynamic_update_index_in_dim(owns, new, at, 0)
        return (fills, owns), (jnp.stack(y), jnp.stack([own[1], inverse]))

    registers, _ = jax.lax.scan(lambda c, s: (eliminate(c, s)[0], None), registers, _scanned(plan.first, edges))
    registers, kept = jax.lax.scan(eliminate, registers, _scanned(plan.last, edges))
    root = nodal[:, :, 0] + registers[1][plan.root]
    pressure = {0: root[1] / root[0]}
    for step in range(len(plan.last.node) - 1, -1, -1):
        flow = kept[1][step, 0]
        for j, near in enumerate(plan.last.near[step].tolist()):
            if near < plan.n_nodes:
                flow = flow + kept[0][step, j] * pressure[near]
        pressure[int(plan.last.node[step])] = flow * kept[1][step, 1]
    return jnp.stack([pressure[node] for node in nodes], axis=1)


def _scanned(steps: Steps, like: Array) -> tuple[Array, ...]:
    """The arrays of some steps, ready to scan over; flags in the real type of `like`."""
    real = like.real.dtype
    fields = (getattr(steps, field.name) for field in dataclasses.fields(steps))
    return tuple(jnp.asarray(a, real if a.dtype.kind == "f" else jnp.int32) for a in fields)
