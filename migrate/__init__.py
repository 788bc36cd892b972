"""TCP connection migration for every program of a host: a pure core, and the edges to the Linux kernel."""
