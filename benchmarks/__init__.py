"""Our time against the reference's on the same work; `make bench` runs it, no test does."""
