"""Tests of the wheel, of what it depends on, and of the tools around it."""
