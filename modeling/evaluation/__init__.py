"""Evaluation: a model's masks against known targets, with intervals (docs/concepts/evaluation.md)."""
