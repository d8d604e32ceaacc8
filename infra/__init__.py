"""What lies outside of the program: storage, ledger, tracking, compute, settings."""
