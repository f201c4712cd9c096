"""The table of the benchmark holds what was kept, paired observation by observation."""

from __future__ import annotations

import json

from pulsebayes.benchmarks.rows import Row
from pulsebayes.benchmarks.sbibm import EACH
from pulsebayes.benchmarks.sbibm_report import kept, lines


def test_difference_is_paired(tmp_path):
    for method, values, seconds in (("pulsebayes", "0.5000 0.6000", 20.0), ("sbi maf", "0.5500 0.6600", 30.0)):
        rows = [
            Row("slcp", method, "10000 simulations", EACH, values),
            Row("slcp", method, "10000 simulations", "training [CPU s]", seconds),
        ]
        (tmp_path / f"sbibm-slcp-10000-{method[:3]}.json").write_text(json.dumps([vars(row) for row in rows]))
    (tmp_path / "sbibm-sir-10000-pulsebayes-quick.json").write_text("[]")
    table = lines(kept(tmp_path))
    assert len(table) == 3
    assert table[2] == "| `slcp` | 10,000 | 0.550 (0.050) | 0.605 (0.055) | -0.055 (0.005) | 20, 30 |"
