/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Reading a TCP socket's queues, for iterators over the sockets of a network namespace; the kernel holds each socket's
 * lock meanwhile.  Those in `wanted` have the bytes of a queue copied into `pieces`.  Needs BTF; page fragments are
 * found as x86-64 lays its memory out, and where that is unknown they count as missed.
 *
 * Whoever includes this has declared `struct wish`, with at least the members index, found and missed.
 */
#ifndef MIGRATE_QUEUES_H
#define MIGRATE_QUEUES_H

#include "shared.h"
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define CHUNK 8192
#define FRAGMENTS_MAX 64	/* of one skb; the kernel's own limit is 17, or as it was configured */
#define LIST_MAX 64		/* skbs in one frag_list */
#define EDGES_MAX (1 << 20)	/* of a queue's tree, or skbs in a queue that is a ring */
#define PAGE_SHIFT 12

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tuple);
	__type(value, struct wish);
} wanted SEC(".maps");

/* A piece of a queue: this header, then the bytes. */
struct piece {
	__u32 index;
	__u32 seq;
	__u32 length;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} pieces SEC(".maps");

/* One reader at a time: the daemon. */
struct scratch {
	struct piece piece;
	__u8 bytes[CHUNK];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* Only the members that are read; libbpf finds them in the running kernel's own layout. */
struct in6_addr_words {
	__u32 words[4];
};

struct sock_common {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	struct in6_addr_words skc_v6_daddr, skc_v6_rcv_saddr;
} __attribute__((preserve_access_index));

struct rb_node {
	unsigned long __rb_parent_color;
	struct rb_node *rb_right, *rb_left;
} __attribute__((preserve_access_index));

struct rb_root {
	struct rb_node *rb_node;
} __attribute__((preserve_access_index));

struct sk_buff {
	struct sk_buff *next;
	struct rb_node rbnode;
	char cb[48];
	unsigned int len, data_len, end;
	unsigned char *head, *data;
} __attribute__((preserve_access_index));

struct tcp_skb_cb {
	__u32 seq;
} __attribute__((preserve_access_index));

struct skb_frag {		/* from Linux 6.9 */
	unsigned long netmem;
	unsigned int len, offset;
} __attribute__((preserve_access_index));

struct page;
struct bio_vec {		/* before */
	struct page *bv_page;
	unsigned int bv_len, bv_offset;
} __attribute__((preserve_access_index));

struct skb_shared_info {
	__u8 nr_frags;
	struct sk_buff *frag_list;
	struct skb_frag frags[1];
} __attribute__((preserve_access_index));

struct page {
	unsigned long flags;
} __attribute__((preserve_access_index));

struct bpf_iter_meta;
struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

extern const void page_offset_base __ksym __weak;
extern const void vmemmap_base __ksym __weak;

/* Where the kernel maps all memory, and its array of struct page, if its own symbols do not say; 0: unknown. */
struct layout {
	__u64 page_offset;
	__u64 vmemmap;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct layout);
} layouts SEC(".maps");

struct walk {
	struct wish *wish;
	struct scratch *scratch;
	__u64 node;		/* where we are in the tree, */
	__u64 from;		/* and where we have come from */
	__u64 skb;
	__u64 shared;
	__u64 address;		/* of what is to be copied next, 0 if that cannot be read */
	__u32 seq;
	__u32 left;		/* bytes of it */
	__u32 fragment;
	struct layout layout;
};

#define READ(place, address) bpf_probe_read_kernel(&(place), sizeof(place), (const void *)(address))

/* One chunk of a contiguous stretch, for bpf_loop. */
static long copy_chunk(__u32 step, void *context)
{
	struct walk *walk = context;
	struct scratch *scratch = walk->scratch;
	__u32 count = walk->left;

	if (!count || !scratch || !walk->wish)
		return 1;
	if (count > CHUNK)
		count = CHUNK;
	barrier_var(count);
	if (count > CHUNK)
		return 1;
	scratch->piece.index = walk->wish->index;
	scratch->piece.seq = walk->seq;
	scratch->piece.length = count;
	if (!walk->address || bpf_probe_read_kernel(scratch->bytes, count, (const void *)walk->address) ||
	    bpf_ringbuf_output(&pieces, scratch, sizeof(scratch->piece) + count, 0))
		walk->wish->missed += count;
	if (walk->address)
		walk->address += count;
	walk->seq += count;
	walk->left -= count;
	return 0;
}

static __always_inline void copy(struct walk *walk, __u64 address, __u32 length)
{
	walk->address = address;
	walk->left = length;
	bpf_loop(1 << 16, copy_chunk, walk, 0);
}

static __always_inline __u64 address_of_page(const struct walk *walk, __u64 page)
{
	__u32 size = bpf_core_type_size(struct page);

	if (!page || (page & 1) /* not the host's own memory */ || !walk->layout.page_offset ||
	    !walk->layout.vmemmap || !size)
		return 0;
	return walk->layout.page_offset + ((page - walk->layout.vmemmap) / size << PAGE_SHIFT);
}

static long copy_fragment(__u32 step, void *context)
{
	struct walk *walk = context;
	__u64 at = walk->shared + bpf_core_field_offset(struct skb_shared_info, frags), page = 0;
	__u32 length = 0, offset = 0;

	if (bpf_core_field_exists(struct skb_frag, netmem)) {
		at += walk->fragment * bpf_core_type_size(struct skb_frag);
		READ(page, at + bpf_core_field_offset(struct skb_frag, netmem));
		READ(length, at + bpf_core_field_offset(struct skb_frag, len));
		READ(offset, at + bpf_core_field_offset(struct skb_frag, offset));
	} else {
		at += walk->fragment * bpf_core_type_size(struct bio_vec);
		READ(page, at + bpf_core_field_offset(struct bio_vec, bv_page));
		READ(length, at + bpf_core_field_offset(struct bio_vec, bv_len));
		READ(offset, at + bpf_core_field_offset(struct bio_vec, bv_offset));
	}
	page = address_of_page(walk, page);
	copy(walk, page ? page + offset : 0, length);
	walk->fragment++;
	return 0;
}

/* One skb's linear part and fragments; returns its frag_list. */
static __always_inline __u64 copy_flat(struct walk *walk, __u64 skb)
{
	__u32 length = 0, in_fragments = 0, end = 0;
	__u64 head = 0, data = 0, list = 0;
	__u8 count = 0;

	READ(length, skb + bpf_core_field_offset(struct sk_buff, len));
	READ(in_fragments, skb + bpf_core_field_offset(struct sk_buff, data_len));
	READ(end, skb + bpf_core_field_offset(struct sk_buff, end));
	READ(head, skb + bpf_core_field_offset(struct sk_buff, head));
	READ(data, skb + bpf_core_field_offset(struct sk_buff, data));
	if (length > in_fragments)
		copy(walk, data, length - in_fragments);
	if (!in_fragments)
		return 0;
	walk->shared = head + end;
	READ(count, walk->shared + bpf_core_field_offset(struct skb_shared_info, nr_frags));
	READ(list, walk->shared + bpf_core_field_offset(struct skb_shared_info, frag_list));
	walk->fragment = 0;
	bpf_loop(count & (FRAGMENTS_MAX - 1), copy_fragment, walk, 0);
	return list;
}

static long copy_of_list(__u32 step, void *context)
{
	struct walk *walk = context;
	__u64 next = 0;

	if (!walk->skb)
		return 1;
	copy_flat(walk, walk->skb);
	READ(next, walk->skb + bpf_core_field_offset(struct sk_buff, next));
	walk->skb = next;
	return 0;
}

static __always_inline void copy_skb(struct walk *walk, __u64 skb)
{
	__u32 length = 0;

	READ(length, skb + bpf_core_field_offset(struct sk_buff, len));
	READ(walk->seq, skb + bpf_core_field_offset(struct sk_buff, cb) + bpf_core_field_offset(struct tcp_skb_cb, seq));
	if (walk->wish)
		walk->wish->found += length;
	walk->skb = copy_flat(walk, skb);
	bpf_loop(LIST_MAX, copy_of_list, walk, 0);
}

/* One edge of the tree: each node is copied when it is first met, then come its children. */
static long next_edge(__u32 step, void *context)
{
	struct walk *walk = context;
	__u64 parent = 0, left = 0, right = 0, node = walk->node, from = walk->from;

	if (!node)
		return 1;
	READ(parent, node + bpf_core_field_offset(struct rb_node, __rb_parent_color));
	READ(left, node + bpf_core_field_offset(struct rb_node, rb_left));
	READ(right, node + bpf_core_field_offset(struct rb_node, rb_right));
	parent &= ~3ULL;
	if (from == parent)
		copy_skb(walk, node - bpf_core_field_offset(struct sk_buff, rbnode));
	walk->from = node;
	if (from == parent && left)
		walk->node = left;
	else if ((from == parent || from == left) && right)
		walk->node = right;
	else
		walk->node = parent;
	return 0;
}

static __always_inline void tuple_of(struct sock_common *sk, struct tuple *tuple)
{
	__u32 *local = (__u32 *)tuple->local, *remote = (__u32 *)tuple->remote;

	if (sk->skc_family == AF_INET) {
		local[0] = local[1] = remote[0] = remote[1] = 0;
		local[2] = remote[2] = bpf_htonl(0xffff);
		local[3] = sk->skc_rcv_saddr;
		remote[3] = sk->skc_daddr;
	} else {
		BPF_CORE_READ_INTO(&tuple->local, sk, skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&tuple->remote, sk, skc_v6_daddr);
	}
	tuple->local_port = bpf_htons(sk->skc_num);
	tuple->remote_port = sk->skc_dport;
}

/* Begins a walk through the queues of this socket, if it is wanted. */
static __always_inline int begin(struct walk *walk, struct sock_common *sk)
{
	struct tuple tuple = {};
	struct layout *layout;
	__u32 zero = 0;

	tuple_of(sk, &tuple);
	walk->wish = bpf_map_lookup_elem(&wanted, &tuple);
	walk->scratch = bpf_map_lookup_elem(&scratch, &zero);
	if (!walk->wish || !walk->scratch)
		return 0;
	layout = bpf_map_lookup_elem(&layouts, &zero);
	if (layout)
		walk->layout = *layout;
	if (&page_offset_base && &vmemmap_base) {
		READ(walk->layout.page_offset, &page_offset_base);
		READ(walk->layout.vmemmap, &vmemmap_base);
	}
	return 1;
}

#endif
