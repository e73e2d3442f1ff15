"""What the app costs, beside its peers. Run ``python -m benchmarks``; README.md says how."""
