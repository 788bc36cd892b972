// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Migrate's eBPF side: negotiation of Migrate-Permitted, and the watch on a host's interfaces.
 *
 *   sock_ops  the kernel itself makes room for MP in SYN and SYN/ACK;
 *   tc        egress writes the key into MP and the Timestamp option and notes what was sent, ingress
 *             notes what came and hides the key bytes from the kernel; Migrate SYNs, their answers and
 *             RSTs of migratable connections go to the daemon; muted address pairs stay silent.
 *
 * Nothing here wakes the daemon while connections open, run and close.
 */
#include "shared.h"
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define SYN_FLAG 0x02
#define RST_FLAG 0x04
#define ACK_FLAG 0x10
#define NOP_KIND 1
#define TS_KIND 8
#define TS_LENGTH 10
#define OPTIONS_MAX 40
/*
 * A packet that goes to no interface is gone, and its sender believes that it was sent.  Told of a drop, the kernel's
 * TCP counts the try against the connection, twice a second, and gives it up after 15 (tcp_send_probe0): a program
 * that begins to write in an absence would lose its connection within 8 s.
 */
#define NO_INTERFACE 0x7fffffff

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

#include "proof.h"

static __always_inline struct settings *get_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

static __always_inline int alive(const struct settings *now)
{
	return bpf_ktime_get_coarse_ns() < now->alive_until;
}

#include "places.h"

/* ---- sock_ops: room for MP, and a connection's beginning and end ---------------------------------- */

/* Reads one word of the context here and now: the verifier wants each read at a fixed offset, and the compiler
 * would fold the reads of two branches into one at a computed offset. */
#define WORD(place, value)			\
	({					\
		__u32 word_ = (value);		\
		barrier_var(word_);		\
		(place) = word_;		\
	})

static __always_inline void tuple_of_socket(struct bpf_sock_ops *ops, struct tuple *tuple)
{
	__be32 *local = tuple->local, *remote = tuple->remote;

	if (ops->family == AF_INET) {
		local[0] = local[1] = remote[0] = remote[1] = 0;
		local[2] = remote[2] = bpf_htonl(0xffff);
		WORD(local[3], ops->local_ip4);
		WORD(remote[3], ops->remote_ip4);
	} else {
		WORD(local[0], ops->local_ip6[0]);
		WORD(local[1], ops->local_ip6[1]);
		WORD(local[2], ops->local_ip6[2]);
		WORD(local[3], ops->local_ip6[3]);
		WORD(remote[0], ops->remote_ip6[0]);
		WORD(remote[1], ops->remote_ip6[1]);
		WORD(remote[2], ops->remote_ip6[2]);
		WORD(remote[3], ops->remote_ip6[3]);
	}
	tuple->local_port = bpf_htons((__u16)ops->local_port);
	tuple->remote_port = (__be16)(ops->remote_port >> 16);	/* network order, in the upper half */
}

/* How long our MP is in a SYN; and in a SYN/ACK as long as in the SYN that it answers: 0 if that has none of our kind.
 * The SYN itself can be read only while it is processed, and not when its answer goes out once more: what tc has noted
 * of it is there each time.  An answer of a socket that has itself sent a SYN (a simultaneous open) has none. */
static __always_inline int mp_length(struct bpf_sock_ops *ops, const struct settings *now)
{
	struct tuple tuple;
	struct place *place;
	__u32 flags;
	__u8 sign;

	if (!(ops->skb_tcp_flags & ACK_FLAG))
		return now->insecure ? MP_BARE_LENGTH : MP_LENGTH;
	if (ops->is_fullsock)
		return 0;
	tuple_of_socket(ops, &tuple);
	place = place_of(now, &tuple);
	if (!place || !is_for(place, &tuple))
		return 0;
	/* If another takes the place this very moment, tc finds that too, and fills the room with NOPs. */
	flags = whose_of(place).flags;
	sign = place->handshake.peer_key.bytes[0];
	if (!(flags & HS_PEER_KEY) || (flags & (HS_INITIATOR | HS_WRITING)))
		return 0;
	if (flags & HS_INSECURE)
		return MP_BARE_LENGTH;
	return sign == 2 || sign == 3 ? MP_LENGTH : 0;
}

static __always_inline void connecting(struct bpf_sock_ops *ops)
{
	struct settings *now = get_settings();
	struct tuple tuple;
	struct place *place;

	if (!now)
		return;
	tuple_of_socket(ops, &tuple);
	place = place_of(now, &tuple);
	if (place)
		fetch(place);
}

static __always_inline void established(struct bpf_sock_ops *ops)
{
	struct settings *now = get_settings();
	struct tuple tuple;
	struct counters *seen;
	__u32 zero = 0;
	int keep = 0;

	tuple_of_socket(ops, &tuple);
	if (now && settle(now, &tuple, ops->snd_nxt, ops->rcv_nxt)) {
		keep = BPF_SOCK_OPS_STATE_CB_FLAG;
		seen = bpf_map_lookup_elem(&counters, &zero);
		if (seen)
			__sync_fetch_and_add(&seen->established, 1);
	} else if (bpf_map_lookup_elem(&connections, &tuple)) {
		keep = BPF_SOCK_OPS_STATE_CB_FLAG;	/* a rebound socket: the daemon has put it there */
	}
	/* From here on no segment of this connection runs a program of ours. */
	bpf_sock_ops_cb_flags_set(ops, keep);
}

/* Only where room has been made, and as much as that.  The key comes later: syn_out(). */
static __always_inline void write_mp(struct bpf_sock_ops *ops)
{
	__u32 words[MP_LENGTH / 4] = {};
	__u8 *option = (__u8 *)words;

	barrier_var(option);	/* or the compiler would prepare it at every call, whatever that is about */
	option[0] = MP_KIND;
	option[1] = MP_LENGTH;
	option[2] = CURVE_P192;
	if (bpf_store_hdr_opt(ops, option, MP_LENGTH, 0) != -ENOSPC)
		return;
	option[1] = MP_BARE_LENGTH;
	option[2] = CURVE_INSECURE;
	bpf_store_hdr_opt(ops, option, MP_BARE_LENGTH, 0);
}

SEC("sockops")
int negotiate(struct bpf_sock_ops *ops)
{
	struct settings *now;
	struct tuple tuple;
	int length;

	switch (ops->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		connecting(ops);
		/* fall through */
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		if (!(ops->skb_tcp_flags & SYN_FLAG))
			break;
		now = get_settings();
		if (!now || !alive(now) || !now->slots[now->turn & 1][0].number)
			break;
		length = mp_length(ops, now);
		if (length)
			bpf_reserve_hdr_opt(ops, length, 0);
		break;
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
		if (ops->skb_tcp_flags & SYN_FLAG)
			write_mp(ops);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		established(ops);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ops->args[1] == BPF_TCP_CLOSE) {
			tuple_of_socket(ops, &tuple);
			now = get_settings();
			if (now)
				leave(now, &tuple);
		}
		break;
	}
	return 1;
}

/* ---- tc: what is on the wire ----------------------------------------------------------------------- */

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

/* Sends the frame, from its IP header on, to the daemon.  A ring buffer's records have sizes known at load. */
static __always_inline void send_report(struct __sk_buff *skb, __u32 l2, __u32 reason, __u64 length, __u32 room)
{
	struct report *report = bpf_ringbuf_reserve(&reports, sizeof(*report) + room, 0);

	if (!report)
		return;
	report->reason = reason;
	report->length = length;
	report->time = bpf_ktime_get_ns();
	/* The verifier wants both bounds on the very register that is passed on: no folding of the two tests. */
	barrier_var(length);
	if (length > room)
		goto discard;
	barrier_var(length);
	if (length < sizeof(struct iphdr))
		goto discard;
	barrier_var(length);
	if (bpf_skb_load_bytes(skb, l2, report + 1, length))
		goto discard;
	bpf_ringbuf_submit(report, 0);
	return;
discard:
	bpf_ringbuf_discard(report, 0);
}

static __always_inline void report(struct __sk_buff *skb, __u32 l2, __u32 reason)
{
	__u64 length = (__u64)skb->len - l2;

	if (length <= REPORT_SMALL)
		send_report(skb, l2, reason, length, REPORT_SMALL);
	else
		send_report(skb, l2, reason, length, REPORT_MAX);
}

static __always_inline __u32 watch_flags(const struct settings *now, const struct tuple *tuple)
{
	struct watch *watch;

	if (!now->watching)
		return 0;
	watch = bpf_map_lookup_elem(&watches, tuple);
	if (!watch || bpf_ktime_get_coarse_ns() > watch->until)
		return 0;
	return watch->flags;
}

/*
 * Our key pair for a handshake.  A peer without Migrate takes the TSval of our SYN for a clock and drops
 * later segments whose TSval is "older" (PAWS, RFC 7323), so the four key bytes there must lie in the half
 * circle at or before our real clock: there is one pair for each quarter, and the quarter before the
 * clock's own always does.
 */
static __always_inline const struct key_slot *choose_slot(struct settings *now, const struct options *options)
{
	__u32 clock = 0;

	if (options->usual)
		clock = options->old_words[USUAL_TS / 4 + 1];
	else if (options->timestamp >= 0)
		get(options, options->timestamp + 2, (__u8 *)&clock, 4);
	clock = bpf_ntohl(clock);
	return &now->slots[now->turn & 1][((clock >> 30) + 3) & 3];
}

static __always_inline void note_key(__u32 number)
{
	__u32 zero = 0;
	struct counters *seen = bpf_map_lookup_elem(&counters, &zero);

	if (seen && seen->key_used != number)
		seen->key_used = number;
}

/* MP of the insecure variant: no key, and the Timestamp option is nothing but one. */
static __always_inline int is_bare(const struct options *options)
{
	return options->mp >= 0 && options->mp_length == MP_BARE_LENGTH &&
	       options->old[(options->mp + 2) & 63] == CURVE_INSECURE;
}

static __always_inline int syn_out(struct __sk_buff *skb, struct settings *now, struct segment *segment)
{
	struct options options;
	struct place *place;
	struct handshake *handshake;
	const struct key_slot *slot;
	union whose seen, then;
	__u32 index, number;
	struct key memory, *key = &memory;
	int answer = segment->flags & ACK_FLAG, bare, ours, fresh = 0, lost = 0;

	if (load_options(skb, segment, &options) || options.mp < 0)
		return TC_ACT_UNSPEC;
	bare = is_bare(&options);
	if (!bare && (options.mp_length != MP_LENGTH || options.timestamp < 0))
		return TC_ACT_UNSPEC;
	index = index_of(now, &segment->tuple);
	place = bpf_map_lookup_elem(&places, &index);
	if (!place)
		return TC_ACT_UNSPEC;
	if (!answer)
		vacate(place, index);
	slot = choose_slot(now, &options);
	number = slot->number;
	barrier_var(key);	/* or the compiler would take it apart into bytes */
	*key = slot->public_key;
	handshake = &place->handshake;
	seen = then = whose_of(place);
	ours = claim(place, seen);
	if (answer) {
		lost = !holds(place, seen, &segment->tuple) || seen.ni + 1 != segment->ack;
		fresh = !(seen.flags & HS_SENT_KEY) || handshake->na != segment->seq;
		then.flags |= HS_SENT_KEY;
	} else {
		lost = !ours;
		fresh = !holds(place, seen, &segment->tuple) || !(seen.flags & HS_SENT_KEY) || seen.ni != segment->seq;
		if (fresh) {
			then.ni = segment->seq;
			then.flags = HS_INITIATOR | HS_SENT_KEY;
		}
	}
	if (ours && !lost && fresh) {
		if (answer)
			handshake->na = segment->seq;
		else
			place->tuple = segment->tuple;
		if (bare) {
			then.flags |= HS_INSECURE;
		} else {
			handshake->key_number = number;
			handshake->own_key = *key;
		}
	} else {
		/* A retransmission carries the same key. */
		*key = handshake->own_key;
		fresh = 0;
		then = seen;
	}
	/* A connection's place cannot be claimed: there it stays as it is, if it is still one's. */
	if (ours ? !hand_back(place, seen, then) : !(seen.flags & HS_ESTABLISHED) || handshake->whose != seen.word)
		lost = 1;
	if (lost) {
		/* Plain TCP then, and the peer must see that it is. */
		if (options.usual) {
			for (int i = 0; i < MP_LENGTH / 4; i++)
				options.new_words[USUAL_MP / 4 + i] = NOP_KIND * 0x01010101;
			store_words(skb, segment, &options, USUAL_MP / 4, MP_LENGTH / 4);
			return TC_ACT_UNSPEC;
		}
		for (int i = 0; i < MP_LENGTH; i++)
			if (i < options.mp_length)
				options.new[(options.mp + i) & 63] = NOP_KIND;
	} else if (bare) {
		return TC_ACT_UNSPEC;
	} else {
		if (fresh)
			note_key(number);
		write_key(&options, key);
		if (options.usual) {
			store_words(skb, segment, &options, 2, 8);
			return TC_ACT_UNSPEC;
		}
	}
	store_options(skb, segment, &options);
	return TC_ACT_UNSPEC;
}

/* Only the member that is read; libbpf finds it in the running kernel's own layout. */
struct tcp_timewait_sock {
	__u32 tw_ts_recent;
} __attribute__((preserve_access_index));

/* The socket that a segment is for, or NULL; to be released. */
static __always_inline struct bpf_sock *socket_of(struct __sk_buff *skb, const struct tuple *tuple)
{
	struct bpf_sock_tuple look = {};

	if (tuple->local[0] == 0 && tuple->local[1] == 0 && tuple->local[2] == bpf_htonl(0xffff)) {
		look.ipv4.saddr = tuple->remote[3];
		look.ipv4.daddr = tuple->local[3];
		look.ipv4.sport = tuple->remote_port;
		look.ipv4.dport = tuple->local_port;
		return bpf_skc_lookup_tcp(skb, &look, sizeof(look.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(look.ipv6.saddr, tuple->remote, 16);
	__builtin_memcpy(look.ipv6.daddr, tuple->local, 16);
	look.ipv6.sport = tuple->remote_port;
	look.ipv6.dport = tuple->local_port;
	return bpf_skc_lookup_tcp(skb, &look, sizeof(look.ipv6), BPF_F_CURRENT_NETNS, 0);
}

/*
 * The TSval that the kernel is to see in a SYN: 0, which it takes as unknown.  But where the SYN meets its
 * predecessor's TIME_WAIT, PAWS would refuse a 0 for every second pair of hosts: there it is the peer's last TSval.
 */
static __always_inline __u32 harmless_tsval(struct __sk_buff *skb, const struct tuple *tuple)
{
	struct tcp_timewait_sock *waiting;
	struct bpf_sock *sk = socket_of(skb, tuple);
	__u32 tsval = 0;

	if (!sk)
		return 0;
	if (sk->state == BPF_TCP_TIME_WAIT) {
		waiting = (struct tcp_timewait_sock *)bpf_skc_to_tcp_timewait_sock(sk);
		if (waiting)
			tsval = waiting->tw_ts_recent;
	}
	bpf_sk_release(sk);
	return bpf_htonl(tsval);
}

static __always_inline int awaits_answer(struct __sk_buff *skb, const struct tuple *tuple)
{
	struct bpf_sock *sk = socket_of(skb, tuple);
	int awaits;

	if (!sk)
		return 0;
	awaits = sk->state == BPF_TCP_SYN_SENT;
	bpf_sk_release(sk);
	return awaits;
}

#define OURS_SECURE 1
#define OURS_INSECURE 2

/* Does the answer belong to a SYN of ours with an MP, and of which kind (0: it does not)?  If both have one, the
 * handshake is complete. */
static __always_inline int note_answer(struct settings *now, const struct segment *segment, int usable, int bare,
				       const struct key *peer_key)
{
	struct place *place = place_of(now, &segment->tuple);
	struct handshake *handshake;
	union whose seen, then;
	int ours, insecure, claimed;

	if (!place)
		return 0;
	handshake = &place->handshake;
	seen = whose_of(place);
	claimed = claim(place, seen);
	if (!claimed && !(seen.flags & HS_ESTABLISHED))
		return 0;
	ours = holds(place, seen, &segment->tuple) && (seen.flags & HS_SENT_KEY) && seen.ni + 1 == segment->ack;
	insecure = seen.flags & HS_INSECURE;
	if (claimed) {
		then = seen;
		if (ours && (insecure ? bare : usable)) {
			then.flags |= HS_PEER_KEY;
			handshake->na = segment->seq;
			handshake->peer_key = *peer_key;
		}
		if (!hand_back(place, seen, then))
			return 0;
	}
	return !ours ? 0 : insecure ? OURS_INSECURE : OURS_SECURE;
}

static __always_inline void note_request(struct place *place, __u32 index, const struct segment *segment, int bare,
					 const struct key *peer_key)
{
	union whose seen, then;

	/* Of a connection that lives the kernel will refuse a second handshake: it keeps what the first has settled. */
	if (!lives(place, &segment->tuple))
		vacate(place, index);
	seen = then = whose_of(place);
	if (!claim(place, seen))
		return;
	if (!holds(place, seen, &segment->tuple) || seen.ni != segment->seq || !(seen.flags & HS_PEER_KEY)) {
		place->tuple = segment->tuple;
		then.ni = segment->seq;
		then.flags = bare ? HS_PEER_KEY | HS_INSECURE : HS_PEER_KEY;
	}
	place->handshake.peer_key = *peer_key;
	hand_back(place, seen, then);
}

static __always_inline void forget_left(const struct settings *now, const struct tuple *tuple)
{
	struct watch *watch = bpf_map_lookup_elem(&watches, tuple);

	if (watch && !(watch->flags & (WATCH_SYNACK | WATCH_HOLD)) && !known(now, tuple))
		bpf_map_delete_elem(&watches, tuple);
}

/* Our kernel opens a connection, so none of its sockets has this pair: what one has left there is over.  Where one is
 * on its way there, that one goes first. */
static __always_inline void forget_own(const struct tuple *tuple)
{
	struct watch *watch = bpf_map_lookup_elem(&watches, tuple);

	if (watch && !(watch->flags & WATCH_HOLD))
		bpf_map_delete_elem(&watches, tuple);
}

static __always_inline int syn_in(struct __sk_buff *skb, __u32 l2, struct settings *now, struct segment *segment)
{
	__u32 harmless[2] = { 0, 0 };
	struct options options;
	struct key memory = {}, *peer_key = &memory;
	int answer = segment->flags & ACK_FLAG, usable, bare, ours;
	struct place *place;
	__u32 index;

	if (load_options(skb, segment, &options))
		return TC_ACT_UNSPEC;
	if (options.migrate >= 0 && !answer) {
		if (worth_a_report(options.old, options.migrate, options.migrate_length, segment->seq))
			report(skb, l2, REPORT_MIGRATE_SYN);
		return TC_ACT_SHOT;	/* even without a daemon: this SYN opens nothing */
	}
	barrier_var(peer_key);	/* see syn_out() */
	usable = options.mp >= 0 && options.mp_length == MP_LENGTH && options.timestamp >= 0 &&
		 options.old[(options.mp + 2) & 63] == CURVE_P192;
	if (usable)
		read_key(&options, peer_key);
	bare = is_bare(&options) && now->insecure;
	if (answer) {
		ours = note_answer(now, segment, usable, is_bare(&options), peer_key);
		bare = ours == OURS_INSECURE;
		usable = bare ? is_bare(&options) : usable;
		if (!ours) {
			/* Of a handshake that has lost its place the kernel must not see the key bytes either. */
			if (!usable || !awaits_answer(skb, &segment->tuple))
				return TC_ACT_UNSPEC;
		} else if (options.mp >= 0 && !usable) {
			report(skb, l2, REPORT_CURVE);
			return TC_ACT_SHOT;
		}
	} else {
		/* A new connection of whoever has the address now: the silence that an old one has left does not bind
		   it.  One that is still there keeps its own, whoever asks: MIGRATE_WAIT stays silent. */
		if (now->watching)
			forget_left(now, &segment->tuple);
		if (!usable && !bare)
			return TC_ACT_UNSPEC;
		index = index_of(now, &segment->tuple);
		place = bpf_map_lookup_elem(&places, &index);
		if (place)
			fetch(place);
		if (!bare)
			harmless[0] = harmless_tsval(skb, &segment->tuple);
		if (place)
			note_request(place, index, segment, bare, peer_key);
	}
	/* The kernel must see neither as a clock; it does not look at a zero TSecr. */
	if (options.timestamp >= 0 && !bare) {
		if (options.usual) {
			hide_times(skb, segment, &options, harmless[0]);
			return TC_ACT_UNSPEC;
		}
		put(&options, options.timestamp + 2, (const __u8 *)harmless, 8);
		store_options(skb, segment, &options);
	}
	return TC_ACT_UNSPEC;
}

static __always_inline int out(struct __sk_buff *skb, __u32 l2)
{
	struct settings *now = get_settings();
	struct segment segment;

	if (!now || passes(skb, l2, now) || !parse(skb, l2, 0, &segment))
		return TC_ACT_UNSPEC;
	if (now->watching && opens(&segment) && skb->mark != HANDSHAKE_MARK)
		forget_own(&segment.tuple);
	if ((watch_flags(now, &segment.tuple) & WATCH_MUTE_OUT) && alive(now) && skb->mark != HANDSHAKE_MARK)
		return bpf_redirect(NO_INTERFACE, 0);
	if (segment.flags & SYN_FLAG)
		return syn_out(skb, now, &segment);
	if (segment.flags & RST_FLAG && segment.tuple.local_port == now->guarded && alive(now))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

/* Is the segment the daemon's, or nobody's, instead of the kernel's? */
static __always_inline int intercepted(struct __sk_buff *skb, __u32 l2, const struct settings *now,
				       const struct segment *segment)
{
	__u32 flags = watch_flags(now, &segment->tuple);

	if (segment->flags & RST_FLAG && flags & (WATCH_SYNACK | WATCH_HOLD))
		report(skb, l2, REPORT_RST);
	else if (segment->flags & SYN_FLAG && flags & WATCH_SYNACK)
		report(skb, l2, REPORT_SYNACK);
	else if (flags & WATCH_HOLD)
		report(skb, l2, REPORT_HELD);
	else if (flags & WATCH_MUTE_IN)
		return 1;
	else if (!(segment->flags & RST_FLAG) || !known(now, &segment->tuple))
		return 0;
	else if (allowed(ALLOWANCE_RST))
		report(skb, l2, REPORT_RST);
	return 1;
}

static __always_inline int in(struct __sk_buff *skb, __u32 l2)
{
	struct settings *now = get_settings();
	struct segment segment;

	if (!now || passes(skb, l2, now) || !readable(skb, l2) || !parse(skb, l2, 1, &segment))
		return TC_ACT_UNSPEC;
	if ((now->watching || segment.flags & RST_FLAG) && !opens(&segment) && alive(now) &&
	    intercepted(skb, l2, now, &segment))
		return TC_ACT_SHOT;
	if (segment.flags & SYN_FLAG)
		return syn_in(skb, l2, now, &segment);
	return TC_ACT_UNSPEC;
}

/* Interfaces with an Ethernet header, and those without (TUN). */
SEC("tc")
int ether_in(struct __sk_buff *skb)
{
	return in(skb, ETH_HLEN);
}

SEC("tc")
int ether_out(struct __sk_buff *skb)
{
	return out(skb, ETH_HLEN);
}

SEC("tc")
int bare_in(struct __sk_buff *skb)
{
	return in(skb, 0);
}

SEC("tc")
int bare_out(struct __sk_buff *skb)
{
	return out(skb, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
