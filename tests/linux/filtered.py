"""A program under a seccomp filter that kills whoever makes the system call restart_syscall, and allows all others.

It sleeps in the way that its argument names, for half a second at a time, and says "slept" after each.
"""

import ctypes
import struct
import sys

ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
RESTART_SYSCALL, FUTEX = 219, 202
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
SECONDS = 0.5

libc = ctypes.CDLL(None, use_errno=True)


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("count", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def forbid(number: int) -> None:
    steps = ((LOAD, 0, 0, 0), (JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, KILL_PROCESS), (RETURN, 0, 0, ALLOW))
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(len(steps), code)), 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp filter")


def sleep(how: str) -> int:
    whole, part = 0, int(SECONDS * 1e9)
    if how == "nanosleep":
        return int(libc.nanosleep(struct.pack("=qq", whole, part), None))
    if how == "poll":
        return int(libc.poll(None, 0, int(SECONDS * 1000)))
    word = ctypes.c_int(0)
    return int(libc.syscall(FUTEX, ctypes.byref(word), 0, 0, struct.pack("=qq", whole, part), None, 0)) + 1  # timed out


def main() -> None:
    forbid(RESTART_SYSCALL)
    print("begins", flush=True)
    while True:
        print("slept" if sleep(sys.argv[1]) == 0 else f"error {ctypes.get_errno()}", flush=True)


main()
