/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * A TCP segment on the wire, as the programs at the interfaces see it.
 */
#ifndef MIGRATE_SEGMENT_H
#define MIGRATE_SEGMENT_H

#include "shared.h"
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SYN_FLAG 0x02
#define RST_FLAG 0x04
#define ACK_FLAG 0x10

struct segment {
	struct tuple tuple;
	__u32 seq, ack;
	__u32 tcp_offset;	/* of the TCP header in the frame */
	__u32 options_length;
	__u8 flags;
};

static __always_inline void map_v4(__be32 *words, __be32 address)
{
	words[0] = words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = address;
}

static __always_inline __u8 flags_of(const struct tcphdr *tcp)
{
	return ((const __u8 *)tcp)[13];
}

/*
 * Most segments are of no interest: none that open or reset a connection, while no address pair is watched.  They pass
 * by their TCP flags, before anything else is looked at: where that byte is something else, because the frame has
 * another protocol, IP options or a fragment in it, it passes in any case.
 */
static __always_inline int passes(struct __sk_buff *skb, __u32 l2, const struct settings *now)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct tcphdr *tcp;

	if (now->watching)
		return 0;
	tcp = data + l2 + (skb->protocol == bpf_htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	return (void *)(tcp + 1) <= end && !(flags_of(tcp) & (SYN_FLAG | RST_FLAG));
}

/* Fills in `segment` from a frame whose IP header begins at l2; 0 if it is no TCP segment. */
static __always_inline int parse(struct __sk_buff *skb, __u32 l2, int ingress, struct segment *segment)
{
	void *data, *end;
	__be32 *source = ingress ? segment->tuple.remote : segment->tuple.local;
	__be32 *destination = ingress ? segment->tuple.local : segment->tuple.remote;
	struct tcphdr *tcp;

	barrier_var(skb);	/* or the compiler would take half of a pointer from what has been read before */
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + l2;

		tcp = (struct tcphdr *)(ip + 1);
		if ((void *)(tcp + 1) > end || ip->protocol != IPPROTO_TCP || ip->ihl != 5 ||
		    (ip->frag_off & bpf_htons(0x1fff)))
			return 0;
		map_v4(source, ip->saddr);
		map_v4(destination, ip->daddr);
		segment->tcp_offset = l2 + sizeof(*ip);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + l2;

		tcp = (struct tcphdr *)(ip + 1);
		if ((void *)(tcp + 1) > end || ip->nexthdr != IPPROTO_TCP)
			return 0;
		__builtin_memcpy(source, &ip->saddr, 16);
		__builtin_memcpy(destination, &ip->daddr, 16);
		segment->tcp_offset = l2 + sizeof(*ip);
	} else {
		return 0;
	}
	segment->tuple.local_port = ingress ? tcp->dest : tcp->source;
	segment->tuple.remote_port = ingress ? tcp->source : tcp->dest;
	segment->seq = bpf_ntohl(tcp->seq);
	segment->ack = bpf_ntohl(tcp->ack_seq);
	segment->flags = flags_of(tcp);
	segment->options_length = (tcp->doff - 5) * 4;
	return tcp->doff >= 5;
}

static __always_inline int opens(const struct segment *segment)
{
	return (segment->flags & (SYN_FLAG | ACK_FLAG)) == SYN_FLAG;
}

/* The headers may lie beyond what can be read at once, as some drivers deliver them. */
static __always_inline int readable(struct __sk_buff *skb, __u32 l2)
{
	/* Not a byte more than is read: a frame of which too little is there is copied. */
	__u32 ip = skb->protocol == bpf_htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	__u32 wanted = l2 + ip + sizeof(struct tcphdr), whole = skb->len;
	__u64 there = (__u64)skb->data_end - (__u64)skb->data;

	if (there >= wanted || there >= whole)
		return 1;
	return bpf_skb_pull_data(skb, whole < wanted ? whole : wanted) == 0;
}

#endif
