"""The paper's tables and figure, made again and set beside its own numbers.

Source: Song, Ranjan, Li, "A Layer-wise Adversarial-aware Quantization Optimization for Improving Robustness" (2021).
Its numbers are in `reference_accuracy.csv` (Tables 1 to 4), `reference_lipschitz.csv` (Table 5) and
`reference_plans.csv` (section 6.1: the settings that its search ended with); how much is run on which data set is in
`settings.json`. `results.reproduce` makes the pages.
"""
