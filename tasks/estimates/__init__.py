"""Estimates of what a stage would take: hours, memory, money."""
