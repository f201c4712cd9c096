r"""pyoperon as a proposer: genetic programming on the smooth derivative of each state."""

from __future__ import annotations

import re

import numpy as np

from ._smooth import Path
from .equations import Equations, equations_from_sympy

_GENERATIONS = 60


def operon_equations(paths: list[Path], seed: int) -> Equations | None:
    r"""One equation for every state, by pyoperon's regressor; None where one of them cannot be read.

    Raises:
        ImportError: If pyoperon is not installed.
    """
    try:
        from pyoperon.sklearn import SymbolicRegressor
    except ImportError as error:
        raise ImportError("the proposer 'operon' needs pyoperon: pip install 'pulsebayes[symbolic]'") from error
    import sympy

    n_states, n_inputs = paths[0].x.shape[1], paths[0].u.shape[1]
    names = [f"x{i}" for i in range(n_states)] + [f"u{i}" for i in range(n_inputs)]
    x = np.concatenate([np.column_stack([p.smooth, p.u_grid])[5:-5] for p in paths])
    expressions = []
    for i in range(n_states):
        y = np.concatenate([p.slope[5:-5, i] for p in paths])
        search = SymbolicRegressor(
            allowed_symbols="add,sub,mul,div,sin,cos,exp,constant,variable",
            population_size=500,
            generations=_GENERATIONS,
            max_length=25,
            optimizer_iterations=3,
            n_threads=1,
            random_state=seed,
        )
        search.fit(x, y)
        text = search.get_model_string(search.model_, 8)
        text = re.sub(r"\bX(\d+)\b", lambda m: names[int(m[1]) - 1], text).replace("^", "**")
        symbols = {n: sympy.Symbol(n, real=True) for n in names}
        expressions.append(sympy.sympify(text, locals=symbols))
    try:
        return equations_from_sympy(expressions, names[:n_states], names[n_states:])
    except ValueError:
        return None
