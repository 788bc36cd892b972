"""The kernel edges: eBPF, TCP_REPAIR, the freezer, raw sockets and netlink."""
