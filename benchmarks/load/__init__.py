"""Load and cost: requests per second, latency, memory, processor time, and what a model swap costs.

The load generator shares the machine with the server it loads. Absolute figures are low; read the ratios.
"""
