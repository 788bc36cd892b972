/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The tables that eBPF and the daemon share.  Those of first handshakes are in places.h, of proofs in proof.h.
 */
#ifndef MIGRATE_TABLES_H
#define MIGRATE_TABLES_H

#include "shared.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Connections that have had to leave their place, or have been put here by the daemon.  The others: places.h. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tuple);
	__type(value, struct handshake);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} connections SEC(".maps");

/* Only the daemon reads and writes it.  Pinned, so that a new daemon goes on from there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tuple);
	__type(value, struct state);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tuple);
	__type(value, struct watch);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} watches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} settings SEC(".maps");

/* Each processor has its own: they would take the cache line from one another at every connection. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} counters SEC(".maps");

/* Key pairs by number; only the daemon reads and writes it.  Pinned, so that a new daemon finds them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, 4);
	__uint(value_size, 24);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} private_keys SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} reports SEC(".maps");

static __always_inline struct settings *get_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

static __always_inline int alive(const struct settings *now)
{
	return bpf_ktime_get_coarse_ns() < now->alive_until;
}

#endif
