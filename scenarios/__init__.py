"""Scenarios: each drives real programs over a topology, and says by its checks whether a claim of the slides holds.

`base` says what a scenario is, `verdict` what a check is, `needs` what a machine must have; `python -m scenarios`
runs them side by side (`runner`), each in its own sandbox (`one`).
"""
