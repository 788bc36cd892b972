/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Which Migrate SYNs the daemon must see, whatever else comes: those with a token of a connection of this host, a larger
 * request number, and the right proof for it.  All others (forged, repeated, of a connection that the daemon has not
 * looked at yet) share an allowance: a flood of them costs a look-up or a hash here, and can neither keep the daemon
 * busy nor crowd out the true ones.
 *
 * Nothing is decided here: the daemon judges each by itself.
 */
#ifndef MIGRATE_PROOF_H
#define MIGRATE_PROOF_H

#include "shared.h"
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, TOKEN_BYTES);
	__type(value, struct proof);
} proofs SEC(".maps");

struct allowance {
	__u64 since;
	__u32 used;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct allowance);
} allowances SEC(".maps");

/* One block of SHA-1, as words; a map, because the stack is short. */
struct block {
	__u32 words[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct block);
} blocks SEC(".maps");

/* May one more go to the daemon that it need not see?  Two processors may count one for two: no harm. */
static __always_inline int allowed(__u32 kind)
{
	struct allowance *allowance = bpf_map_lookup_elem(&allowances, &kind);
	__u64 now = bpf_ktime_get_coarse_ns();

	if (!allowance)
		return 0;
	if (now - allowance->since > ALLOWANCE_NS) {
		allowance->since = now;
		allowance->used = 0;
	}
	if (allowance->used >= ALLOWANCE)
		return 0;
	allowance->used++;
	return 1;
}

static __always_inline __u32 rotate(__u32 x, int n)
{
	return x << n | x >> (32 - n);
}

/* The first 8 bytes of SHA-1 of a message that fills one block, padding included (RFC 3174, method 2). */
static __noinline __u64 sha1_of(struct block *block)
{
	__u32 a = 0x67452301, b = 0xefcdab89, c = 0x98badcfe, d = 0x10325476, e = 0xc3d2e1f0;
	__u32 f, k, next;

	if (!block)
		return 0;
	for (int t = 0; t < 80; t++) {
		if (t >= 16)
			block->words[t & 15] = rotate(block->words[(t + 13) & 15] ^ block->words[(t + 8) & 15] ^
						      block->words[(t + 2) & 15] ^ block->words[t & 15], 1);
		if (t < 20) {
			f = (b & c) | (~b & d);
			k = 0x5a827999;
		} else if (t < 40) {
			f = b ^ c ^ d;
			k = 0x6ed9eba1;
		} else if (t < 60) {
			f = (b & c) | (b & d) | (c & d);
			k = 0x8f1bbcdc;
		} else {
			f = b ^ c ^ d;
			k = 0xca62c1d6;
		}
		next = rotate(a, 5) + f + e + block->words[t & 15] + k;
		e = d;
		d = c;
		c = rotate(b, 30);
		b = a;
		a = next;
	}
	return (__u64)(a + 0x67452301) << 32 | (__u32)(b + 0xefcdab89);
}

/* `option`: the Migrate option from its octet on.  True if it proves a request larger than the last accepted. */
static __always_inline int proves(const struct proof *proof, const __u8 *option, __u32 s)
{
	__u32 octet = option[0], ahead = (octet - proof->accepted) & 127, count = proof->accepted + ahead, zero = 0;
	__u32 high = count >> 7, bits = 304;
	struct block *block;
	__u64 wanted;

	if (ahead == 0 || ahead >= 64)
		return 0;
	block = bpf_map_lookup_elem(&blocks, &zero);
	if (!block)
		return 0;
	/* 33 bytes of Ni | Na | K, then S, the octet, and the count's high bits where there are any. */
	for (int i = 0; i < 8; i++)
		block->words[i] = bpf_ntohl(proof->known[i]);
	block->words[8] = (bpf_ntohl(proof->known[8]) & 0xff000000) | s >> 8;
	block->words[9] = s << 24 | octet << 16;
	block->words[10] = block->words[11] = block->words[12] = block->words[13] = block->words[14] = 0;
	if (high) {
		block->words[9] |= high >> 16;
		block->words[10] = high << 16 | 0x8000;
		bits += 32;
	} else {
		block->words[9] |= 0x8000;
	}
	block->words[15] = bits;
	__builtin_memcpy(&wanted, option + 1 + TOKEN_BYTES, sizeof(wanted));
	return sha1_of(block) == bpf_be64_to_cpu(wanted);
}

/* Is the daemon to be told of a Migrate SYN whose options have the Migrate option at `at`, of so many bytes? */
static __always_inline int worth_a_report(const __u8 *options, int at, int length, __u32 s)
{
	__u8 option[MIGRATE_LENGTH - 2];
	struct proof *proof;

	if (length == MIGRATE_LENGTH) {
		for (int i = 0; i < MIGRATE_LENGTH - 2; i++)
			option[i] = options[(at + 2 + i) & 63];
		proof = bpf_map_lookup_elem(&proofs, option + 1);
		if (proof && proves(proof, option, s))
			return 1;
	}
	return allowed(ALLOWANCE_SYN);
}

#endif
