"""The studies that come with the harness: one TOML file per experiment, read by ``harness.studyfile``."""
