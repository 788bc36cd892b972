"""Tiny scenarios that touch nothing, for the tests of the framework."""
