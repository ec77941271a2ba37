"""What the published figures come from: the paper's tables and claims, layer studies, checks. Not installed.

It uses the public names of tf_laq only. `scripts/reproduce.py` and `scripts/sensitivity.py` run the first two, and
`python -m research.checks.NAME` runs a check.
"""
