"""Chaos: what survives kills, full disks, database failover, pulled network cables and attackers."""
