"""Benchmarks: one file per path, peers measured in the same run. `make bench` runs all of them."""
