"""Topologies: a sandbox of namespaces, Mininet nodes in it, and links whose properties are declared and measured."""
