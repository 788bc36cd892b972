"""Failover: a connection outlives its server, because a replica that was no end point of it takes it over."""
