"""Failover: a connection outlives the server at its other end (slides 24 to 26; Snoeren, Andersen and Balakrishnan,
"Fine-Grained Failover Using Connection Migration", USITS 2001).

A *wedge* stands in front of each replica's own HTTP server.  It relays, and tells its *support group* the *soft state*
of each connection: what a member needs to go on with it, and no more.  When a server is pronounced dead, each member
decides alone which connections it takes; the first valid Migrate SYN wins, whoever is late goes unanswered.

Without I/O, tested in milliseconds:

    state     the soft state of one connection, and its bytes
    messages  what members tell each other
    seal      a group's key: encryption, and which datagrams are forged, replayed or stale
    ledger    what is known of the others' connections
    choice    who takes what, and when
    health    when a server is called dead
    mapping   the seam to an application: from a position in the stream to a request that continues there
    http      the first stream mapper, HTTP/1.1
    files     the second, a plain stream of one file
    complaints  which lines of the log are due
    standing  where a connection stands in its two byte streams

Edges: `wedge` (the process), `session` (one client; `subject` is what the group hears of it), `taking` (of others'
connections), `takeover` (what migrated does for that), `group` (UDP), `relay` (splice), `backend`, `room` (in
its socket), `sockets`, `monitor`, `control`.
"""
