"""The outside: store, ledger, tracking, compute, settings."""
