"""Benchmarks, in three folders by purpose. `harness.py` is what they share.

- `quality/`: how well the model reads, and how it learns.
- `load/`: how fast the site is, and what it costs. `make bench` runs the two main ones.
- `chaos/`: what survives kills, full disks, failover, pulled cables and attackers. `make cluster-test` is one of them.
"""
