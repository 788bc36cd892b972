"""Failover at its worst: replicas are killed, frozen, cut off and restarted at random instants of random downloads.

Not a scenario: it reproduces nothing of the talk, and it goes on until so many servers have been killed.
"""
