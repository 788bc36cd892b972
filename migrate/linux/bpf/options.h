/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The TCP options of a SYN or a SYN/ACK: found, read and written over.
 */
#ifndef MIGRATE_OPTIONS_H
#define MIGRATE_OPTIONS_H

#include "segment.h"

#define NOP_KIND 1
#define TS_KIND 8
#define TS_LENGTH 10
#define OPTIONS_MAX 40

/* A SYN's options, before and after.  24 bytes of slack take the place of a bound on each index. */
struct options {
	union {
		__u8 old[64];
		__u32 old_words[16];
	};
	union {
		__u8 new[64];
		__u32 new_words[16];
	};
	__u32 at, length;
	int mp, mp_length, timestamp, migrate, migrate_length;	/* offsets, -1 if absent */
	int usual;	/* MSS, SACK-permitted, TS, NOP, WS, MP with a key, as Linux orders them */
};

/* Where the usual ones lie. */
#define USUAL_TS 6
#define USUAL_MP 20

/* One step over the options, for bpf_loop: as a loop the verifier would walk through every layout. */
static long next_option(__u32 step, void *context)
{
	struct options *options = context;
	__u32 at = options->at;
	__u32 kind, size;

	if (at >= options->length)
		return 1;
	kind = options->old[at & 63];
	size = options->old[(at + 1) & 63];
	if (kind == 0)
		return 1;
	if (kind == 1) {
		options->at = at + 1;
		return 0;
	}
	options->at = at + size;
	if (size < 2 || at + size > options->length) {
		options->at = OPTIONS_MAX + 1;
		return 1;
	}
	if (kind == MP_KIND) {
		options->mp = at;
		options->mp_length = size;
	} else if (kind == TS_KIND && size == TS_LENGTH) {
		options->timestamp = at;
	} else if (kind == MIGRATE_KIND) {
		options->migrate = at;
		options->migrate_length = size;
	}
	return 0;
}

/* Is there room for an option, and not too much?  A macro, because Linux 6.1's verifier wants both bounds, one after
 * the other, on the very register that is passed on. */
#define bounded(length)					\
	({						\
		int fits_ = 0;				\
		barrier_var(length);			\
		if ((length) <= OPTIONS_MAX) {		\
			barrier_var(length);		\
			if ((length) >= 4)		\
				fits_ = 1;		\
		}					\
		fits_;					\
	})

/* Reads the options where they are as nearly all are, in words and without walking; 0 if they are not. */
static __always_inline int load_usual(struct __sk_buff *skb, const struct segment *segment, struct options *options)
{
	__u32 offset = segment->tcp_offset;
	const __u32 *words;
	void *end;

	if (segment->options_length != OPTIONS_MAX)
		return 0;
	barrier_var(offset);	/* the verifier wants a bound, */
	barrier_var(skb);	/* and see parse() */
	words = (void *)(long)skb->data + (offset & 63) + sizeof(struct tcphdr);
	end = (void *)(long)skb->data_end;
	if ((void *)(words + OPTIONS_MAX / 4) > end ||
	    (words[1] & bpf_htonl(0xffff)) != bpf_htonl(TS_KIND << 8 | TS_LENGTH) ||
	    (words[5] & bpf_htonl(0xffff0000)) != bpf_htonl(MP_KIND << 24 | MP_LENGTH << 16))
		return 0;
	for (int i = 0; i < OPTIONS_MAX / 4; i++)
		options->old_words[i] = words[i];
	options->usual = 1;
	options->timestamp = USUAL_TS;
	options->mp = USUAL_MP;
	options->mp_length = MP_LENGTH;
	options->migrate = -1;
	return 1;
}

/* -1 if the options are malformed: they are the kernel's to judge then. */
static __always_inline int load_options(struct __sk_buff *skb, const struct segment *segment, struct options *options)
{
	__u64 length = segment->options_length;

	if (load_usual(skb, segment, options))
		return 0;
	__builtin_memset(options, 0, sizeof(*options));
	options->mp = options->timestamp = options->migrate = -1;
	if (!bounded(length))
		return length ? -1 : 0;
	if (bpf_skb_load_bytes(skb, segment->tcp_offset + sizeof(struct tcphdr), options->old, length))
		return -1;
	options->length = length;
	bpf_loop(OPTIONS_MAX, next_option, options, 0);
	if (options->at > OPTIONS_MAX)
		return -1;
	__builtin_memcpy(options->new, options->old, sizeof(options->new));
	return 0;
}

/* Writes new words over some of the usual options, from a fixed one on, and mends the checksum. */
static __always_inline int store_words(struct __sk_buff *skb, const struct segment *segment,
				       const struct options *options, int first, int count)
{
	__u64 difference = 0;

	for (int i = first; i < first + count; i++)
		difference += (__u64)options->new_words[i] + (__u32)~options->old_words[i];
	difference = (difference >> 32) + (__u32)difference;
	difference = (__u32)((difference >> 32) + difference);
	if (bpf_l4_csum_replace(skb, segment->tcp_offset + __builtin_offsetof(struct tcphdr, check), 0, difference, 0))
		return -1;
	return bpf_skb_store_bytes(skb, segment->tcp_offset + sizeof(struct tcphdr) + 4 * first,
				   options->new_words + first, 4 * count, 0);
}

/* Writes options->new over the segment's options and mends the checksum, an offloaded one too. */
static __always_inline int store_options(struct __sk_buff *skb, const struct segment *segment, struct options *options)
{
	__s64 difference = bpf_csum_diff((__be32 *)options->old, 64, (__be32 *)options->new, 64, 0);
	__u64 length = segment->options_length;

	if (difference < 0 || !bounded(length))
		return -1;
	if (bpf_l4_csum_replace(skb, segment->tcp_offset + __builtin_offsetof(struct tcphdr, check), 0, difference, 0))
		return -1;
	return bpf_skb_store_bytes(skb, segment->tcp_offset + sizeof(struct tcphdr), options->new, length, 0);
}

static __always_inline void put(struct options *options, int at, const __u8 *bytes, int count)
{
	for (int i = 0; i < count; i++)
		options->new[(at + i) & 63] = bytes[i];
}

static __always_inline void get(const struct options *options, int at, __u8 *bytes, int count)
{
	for (int i = 0; i < count; i++)
		bytes[i] = options->old[(at + i) & 63];
}

/* The 25 key bytes between a SYN's two options and a map; in words where the options lie as Linux orders them. */
static __always_inline void write_key(struct options *options, const struct key *key)
{
	const __u32 *words = (const __u32 *)key;

	if (options->usual) {
		options->new_words[2] = words[5];
		options->new_words[3] = words[6];
		options->new_words[4] = options->old_words[4];
		options->new_words[5] = (options->old_words[5] & bpf_htonl(0xffffff00)) | (words[0] & bpf_htonl(0xff));
		for (int i = 1; i < 5; i++)
			options->new_words[5 + i] = words[i];
	} else {
		put(options, options->mp + 3, key->bytes, MP_KEY_BYTES);
		put(options, options->timestamp + 2, key->bytes + MP_KEY_BYTES, 8);
	}
}

static __always_inline void read_key(const struct options *options, struct key *key)
{
	__u32 *words = (__u32 *)key;

	if (options->usual) {
		words[0] = options->old_words[5] & bpf_htonl(0xff);
		for (int i = 1; i < 5; i++)
			words[i] = options->old_words[5 + i];
		words[5] = options->old_words[2];
		words[6] = options->old_words[3];
	} else {
		get(options, options->mp + 3, key->bytes, MP_KEY_BYTES);
		get(options, options->timestamp + 2, key->bytes + MP_KEY_BYTES, 8);
	}
}

/* Ones' complement addition, as the checksum has it. */
static __always_inline __u32 plus(__u32 a, __u32 b)
{
	__u64 sum = (__u64)a + b;

	return (__u32)sum + (__u32)(sum >> 32);
}

/* The usual options with this TSval and a zero TSecr.  The checksum stays right by itself, because what they lose a word
 * of MP's key gets: the kernel does not look there, and by now we have read it. */
static __always_inline int hide_times(struct __sk_buff *skb, const struct segment *segment, struct options *options,
				      __be32 tsval)
{
	const __u32 *old = options->old_words;
	__u32 *new = options->new_words;

	new[2] = tsval;
	new[3] = 0;
	new[4] = old[4];
	new[5] = old[5];
	new[6] = plus(plus(old[6], ~tsval), plus(old[2], old[3]));
	return bpf_skb_store_bytes(skb, segment->tcp_offset + sizeof(struct tcphdr) + 8, new + 2, 20, 0);
}

#endif
