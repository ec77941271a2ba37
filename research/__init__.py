"""What the published figures come from: the paper's tables and claims, layer studies, checks. Not installed."""
