r"""Benchmarks of pulsebayes against named rivals, each on the same work in the same run."""
