"""Machinery behind ``reliability.py`` and ``tests/reliability``: bad files, workers, oracles."""
