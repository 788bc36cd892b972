/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What the eBPF programs and the daemon (maps.py) tell one another.  Every number here has its twin in
 * maps.py, and a test compares the two.
 *
 * Addresses are 16 bytes, IPv4 as v4-mapped IPv6.  Addresses and ports are in network byte order,
 * sequence numbers in host byte order.
 */
#ifndef MIGRATE_SHARED_H
#define MIGRATE_SHARED_H

#include <linux/types.h>

#define AF_INET 2

#define MP_KIND 15		/* Migrate-Permitted */
#define MP_LENGTH 20
#define MP_KEY_BYTES 17
#define MP_BARE_LENGTH 3	/* the insecure variant: no key, K is all zero */
#define MIGRATE_KIND 16
#define MIGRATE_LENGTH 19
#define TOKEN_BYTES 8
#define CURVE_INSECURE 0
#define CURVE_P192 2
#define KEY_BYTES 25

/* One connection seen from this host. */
struct tuple {
	__be32 local[4];
	__be32 remote[4];
	__be16 local_port;
	__be16 remote_port;
};

#define TUPLE_WORDS 9

/* A public key as the segment has it: 17 bytes in MP, 8 in the Timestamp option. */
struct key {
	__u8 pad[3];	/* where MP has kind, length and curve: so both parts lie in words, here and there */
	__u8 bytes[KEY_BYTES];
} __attribute__((aligned(4)));

/* A first handshake, and what it has settled once it is over. */
struct handshake {
	union {
		struct {
			__u32 ni;	/* first sequence number of the SYN */
			__u32 flags;
		};
		__u64 whose;		/* both: who it is and how far, for an exchange in one step */
	};
	__u32 na;		/* first sequence number of the SYN/ACK */
	__u32 key_number;	/* the pair whose public half we sent */
	struct key own_key;
	struct key peer_key;
};

#define HS_INITIATOR 1
#define HS_SENT_KEY 2		/* our MP has left */
#define HS_PEER_KEY 4		/* the peer's MP has come */
#define HS_INSECURE 8		/* both without a key */
#define HS_ADOPTED 16		/* taken over from another host: own_key is the secret K itself */
#define HS_ESTABLISHED 32	/* in a place: the connection is there, and lives */
#define HS_LEAVING 64		/* and is on its way to the table */
#define HS_WRITING 128		/* in a place: one writes there, and nobody else does or looks at what is written */

/* The places of first handshakes, and of the connections that they have opened. */
#define PLACE_BITS 16
#define PLACE_WORDS ((1 << PLACE_BITS) / 64)

/* What the daemon keeps of a connection that has moved: the core's serialised state.  The eBPF side never looks. */
struct state {
	__u32 ni;		/* whose state it is: an address pair may come again */
	__u32 na;
	__u8 bytes[192];
};

/* What a request of the peer's is proved with; the key is the connection's token. */
struct proof {
	__u32 accepted;		/* the full count of the last request accepted */
	__u32 known[9];		/* Ni | Na | K, 33 bytes, as they are hashed */
};

/* Reports of what the daemon need not see, in so long, each: Migrate SYNs without proof, and RSTs. */
#define ALLOWANCE 1000
#define ALLOWANCE_NS 1000000000ULL
#define ALLOWANCE_SYN 0
#define ALLOWANCE_RST 1

/* What is to be done with the segments of one address pair for a while. */
struct watch {
	__u32 flags;
	__u32 pad;
	__u64 until;		/* CLOCK_MONOTONIC nanoseconds; later, the entry is void */
};

#define WATCH_MUTE_OUT 1	/* what this host sends is dropped */
#define WATCH_MUTE_IN 2		/* what arrives is dropped */
#define WATCH_HOLD 4		/* what arrives goes to the daemon instead of the kernel */
#define WATCH_SYNACK 8		/* a SYN/ACK that arrives, or a RST, goes to the daemon instead of the kernel */

/* SO_MARK of the daemon's own segments, which pass where the connection itself is muted. */
#define HANDSHAKE_MARK 0x4d494752

#define KEY_SLOTS 4
#define SEED_WORDS 11

struct key_slot {
	__u32 number;		/* 0: empty */
	struct key public_key;
};

/* What the daemon tells the eBPF side, which never writes it. */
struct settings {
	__u64 alive_until;	/* CLOCK_MONOTONIC nanoseconds: the daemon's promise to be there until then */
	__u32 watching;		/* 1 if `watches` has entries; 0 lets every segment pass at once */
	__u32 insecure;		/* 1: ask for the insecure variant, and answer who asks for it */
	__u32 turn;		/* which of the two sets of key pairs serves, by its last bit: the other may be written */
	__be16 guarded;		/* no RST leaves from this port: some of its sockets cannot be found for a moment */
	__u16 pad;
	struct key_slot slots[2][KEY_SLOTS];	/* one key pair for each quarter of the TSval circle */
	__u64 seed[SEED_WORDS];	/* of the places: random, and never told to a peer */
};

/* What the eBPF side tells the daemon, which never writes it; one for each processor. */
struct counters {
	__u32 established;	/* counts up with every migratable connection */
	__u32 key_used;		/* number of the key pair that has served last there; 0: none yet */
};

/* A report to the daemon: this header, then the segment from its IP header on. */
struct report {
	__u32 reason;
	__u32 length;
	__u64 time;		/* CLOCK_MONOTONIC nanoseconds at which the segment was seen */
};

#define REPORT_MIGRATE_SYN 1
#define REPORT_RST 2
#define REPORT_SYNACK 3
#define REPORT_HELD 4
#define REPORT_CURVE 5

/* Room in a report for one packet of an ordinary MTU, and for what GRO has put together. */
#define REPORT_SMALL 2048
#define REPORT_MAX 65536

#endif
