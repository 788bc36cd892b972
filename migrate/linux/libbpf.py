"""The few calls of libbpf that the daemon needs, through ctypes.

Only the shared library (libbpf.so.1) is needed at run time.  Every call raises `BpfError`, an OSError,
where libbpf reports a failure; what libbpf itself prints is kept and added to the message.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import mmap
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_SAMPLE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

BPF_CGROUP_SOCK_OPS = 3
BPF_TRACE_ITER = 28
BPF_TCX_INGRESS, BPF_TCX_EGRESS = 46, 47
BPF_F_ALLOW_MULTI = 2
BPF_ANY = 0


class BpfError(OSError):
    """A call of libbpf or of the bpf system call failed."""


class _OpenOptions(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
    ]


class _TestRunOptions(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise BpfError(error.errno, "libbpf.so.1 is missing: install the package libbpf1") from error
    # va_list is passed as a pointer on x86-64 and by reference to a structure on arm64: either way it is one word here,
    # and vsnprintf takes it as it came.
    for name, result, arguments in (
        ("bpf_object__open_file", ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_void_p]),
        ("bpf_object__load", ctypes.c_int, [ctypes.c_void_p]),
        ("bpf_object__close", None, [ctypes.c_void_p]),
        ("bpf_object__find_program_by_name", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
        ("bpf_object__find_map_by_name", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
        ("bpf_object__next_program", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p]),
        ("bpf_object__next_map", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p]),
        ("bpf_program__name", ctypes.c_char_p, [ctypes.c_void_p]),
        ("bpf_program__set_autoload", ctypes.c_int, [ctypes.c_void_p, ctypes.c_bool]),
        ("bpf_map__name", ctypes.c_char_p, [ctypes.c_void_p]),
        ("bpf_map__reuse_fd", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
        ("bpf_program__fd", ctypes.c_int, [ctypes.c_void_p]),
        ("bpf_map__fd", ctypes.c_int, [ctypes.c_void_p]),
        ("bpf_obj_get", ctypes.c_int, [ctypes.c_char_p]),
        ("bpf_obj_pin", ctypes.c_int, [ctypes.c_int, ctypes.c_char_p]),
        ("bpf_prog_attach", ctypes.c_int, [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_uint]),
        ("bpf_prog_detach2", ctypes.c_int, [ctypes.c_int, ctypes.c_int, ctypes.c_int]),
        ("bpf_link_create", ctypes.c_int, [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p]),
        ("bpf_link_update", ctypes.c_int, [ctypes.c_int, ctypes.c_int, ctypes.c_void_p]),
        ("bpf_link_detach", ctypes.c_int, [ctypes.c_int]),
        ("bpf_prog_test_run_opts", ctypes.c_int, [ctypes.c_int, ctypes.c_void_p]),
        ("bpf_iter_create", ctypes.c_int, [ctypes.c_int]),
        ("bpf_map_lookup_elem", ctypes.c_int, [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p]),
        (
            "bpf_map_lookup_batch",
            ctypes.c_int,
            [ctypes.c_int, *[ctypes.c_void_p] * 4, ctypes.POINTER(ctypes.c_uint32), ctypes.c_void_p],
        ),
        ("bpf_map_update_elem", ctypes.c_int, [ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64]),
        ("bpf_map_delete_elem", ctypes.c_int, [ctypes.c_int, ctypes.c_char_p]),
        ("libbpf_num_possible_cpus", ctypes.c_int, []),
        ("bpf_map_get_next_key", ctypes.c_int, [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p]),
        ("ring_buffer__new", ctypes.c_void_p, [ctypes.c_int, _SAMPLE, ctypes.c_void_p, ctypes.c_void_p]),
        ("ring_buffer__epoll_fd", ctypes.c_int, [ctypes.c_void_p]),
        ("ring_buffer__consume", ctypes.c_int, [ctypes.c_void_p]),
        ("ring_buffer__free", None, [ctypes.c_void_p]),
        ("libbpf_set_print", ctypes.c_void_p, [_PRINT]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_library: ctypes.CDLL | None = None
_messages: list[str] = []


@_PRINT  # type: ignore[untyped-decorator]
def _keep(level: int, pattern: bytes, arguments: int) -> int:
    if level == 0:  # warnings; the others are for libbpf's own developers
        room = ctypes.create_string_buffer(1 << 20)
        ctypes.CDLL(None).vsnprintf(room, ctypes.c_size_t(1 << 20), pattern, ctypes.c_void_p(arguments))
        _messages.append(room.value.decode(errors="replace").strip())
        del _messages[:-8]
    return 0


def library() -> ctypes.CDLL:
    """libbpf, loaded at the first call.  Raises `BpfError` where it is missing."""
    global _library
    if _library is None:
        _library = _load()
        _library.libbpf_set_print(_keep)
    return _library


def _fail(what: str, result: int | None = None) -> BpfError:
    number = ctypes.get_errno() or -(result or 0)
    detail = reason("\n".join(_messages))
    _messages.clear()
    return BpfError(number, f"{what}: {os.strerror(number)}{f' ({detail})' if detail else ''}")


def reason(said: str) -> str:
    """What libbpf said, in one line: of a verifier's log the program's name and the last complaint."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    refused = re.search(r"prog '(\w+)': failed to load", said)
    verdicts = [number for number, line in enumerate(lines) if line.startswith("processed ")]
    if refused and verdicts and verdicts[0]:
        return f"{refused[1]}: {lines[verdicts[0] - 1]}"
    return lines[0].removeprefix("libbpf: ") if lines else ""


class Map:
    """A BPF map as a mapping from key bytes to value bytes."""

    def __init__(self, fd: int, key_size: int, value_size: int) -> None:
        self.fd, self.key_size, self.value_size = fd, key_size, value_size
        self._room = ctypes.create_string_buffer(value_size)
        self._next = ctypes.create_string_buffer(key_size)

    def get(self, key: bytes) -> bytes | None:
        if library().bpf_map_lookup_elem(self.fd, key, self._room):
            return None
        return self._room.raw

    def set(self, key: bytes, value: bytes) -> None:
        if (len(key), len(value)) != (self.key_size, self.value_size):
            raise ValueError(f"a key of {len(key)} and a value of {len(value)} bytes do not fit this map")
        result = library().bpf_map_update_elem(self.fd, key, value, BPF_ANY)
        if result:
            raise _fail("cannot write a BPF map entry", result)

    def set_word(self, offset: int, value: int) -> None:
        """Writes 8 bytes in one step, where an array that can be mapped has them; `offset` from its first value on."""
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        with mmap.mmap(self.fd, mmap.ALLOCATIONGRANULARITY, offset=start) as memory:
            word = ctypes.c_uint64.from_buffer(memory, offset - start)
            word.value = value
            del word  # or the memory could not be given back

    def delete(self, key: bytes) -> bool:
        return not library().bpf_map_delete_elem(self.fd, key)

    def __iter__(self) -> Iterator[bytes]:
        """All keys; entries that come or go meanwhile may be seen or not."""
        seen: bytes | None = None
        while not library().bpf_map_get_next_key(self.fd, seen, self._next):
            seen = self._next.raw
            yield seen

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for key in list(self):
            value = self.get(key)
            if value is not None:
                yield key, value

    def values(self, count: int) -> Iterator[bytes]:
        """Those of an array of so many, read by one system call.  Raises `BpfError`."""
        keys, values = (ctypes.create_string_buffer(count * size) for size in (self.key_size, self.value_size))
        following, found = ctypes.c_uint32(), ctypes.c_uint32(count)
        call = library().bpf_map_lookup_batch
        result = call(self.fd, None, ctypes.byref(following), keys, values, ctypes.byref(found), None)
        if result or found.value != count:
            raise _fail("cannot read a BPF map", result)
        raw = values.raw
        for start in range(0, len(raw), self.value_size):
            yield raw[start : start + self.value_size]


class Object:
    """A compiled object file, loaded into the kernel.  Maps that ask for it are pinned under `pins`, or found there.

    `only`: these of its programs, for the kernel takes its time to verify each.  `like`: another part of the same file,
    whose maps these programs share."""

    def __init__(
        self, path: Path, pins: Path | None = None, only: Collection[str] | None = None, like: Object | None = None
    ) -> None:
        call = library()
        _messages.clear()
        options = _OpenOptions(ctypes.sizeof(_OpenOptions), None, False, str(pins).encode() if pins else None)
        self._object = call.bpf_object__open_file(str(path).encode(), ctypes.byref(options))
        if not self._object:
            raise _fail(f"cannot open {path}; build it with python -m migrate.linux.build")
        if only is not None:
            for program in self._each(call.bpf_object__next_program):
                call.bpf_program__set_autoload(program, call.bpf_program__name(program).decode() in only)
        result = 0
        if like is not None:
            for one in self._each(call.bpf_object__next_map):
                theirs = call.bpf_object__find_map_by_name(like._object, call.bpf_map__name(one))
                result = result or call.bpf_map__reuse_fd(one, call.bpf_map__fd(theirs))
        result = result or call.bpf_object__load(self._object)
        if result:
            error = _fail(f"the kernel refused {path.name}", result)
            call.bpf_object__close(self._object)
            raise error

    def _each(self, following: Callable[[int, int | None], int | None]) -> Iterator[int]:
        """Its programs, or its maps, by libbpf's function that gives the next one."""
        one = following(self._object, None)
        while one:
            yield one
            one = following(self._object, one)

    def program(self, name: str) -> int:
        """The descriptor of a program, owned by this object."""
        found = library().bpf_object__find_program_by_name(self._object, name.encode())
        if not found:
            raise BpfError(0, f"no program {name} in the eBPF object")
        return int(library().bpf_program__fd(found))

    def map(self, name: str, key_size: int, value_size: int) -> Map:
        found = library().bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise BpfError(0, f"no map {name} in the eBPF object")
        return Map(int(library().bpf_map__fd(found)), key_size, value_size)

    def close(self) -> None:
        library().bpf_object__close(self._object)


class RingBuffer:
    """A BPF ring buffer whose `epoll_fd` becomes readable when reports wait."""

    def __init__(self, ring: Map, receive: Callable[[bytes], None]) -> None:
        self._error: BaseException | None = None

        def sample(_context: int, data: int, size: int) -> int:
            # An exception cannot cross libbpf: it is kept and raised by `consume`.
            try:
                receive(ctypes.string_at(data, size))
            except BaseException as error:  # noqa: BLE001
                self._error = self._error or error
            return 0

        self._callback = _SAMPLE(sample)
        self._ring = library().ring_buffer__new(ring.fd, self._callback, None, None)
        if not self._ring:
            raise _fail("cannot open the BPF ring buffer")
        self.epoll_fd = int(library().ring_buffer__epoll_fd(self._ring))

    def consume(self) -> None:
        result = library().ring_buffer__consume(self._ring)
        error, self._error = self._error, None
        if error is not None:
            raise error
        if result < 0:
            raise _fail("cannot read the BPF ring buffer", result)

    def close(self) -> None:
        library().ring_buffer__free(self._ring)


def processors() -> int:
    """So many values an entry has in a map with one for each processor."""
    count = int(library().libbpf_num_possible_cpus())
    if count < 0:
        raise _fail("cannot count the processors", count)
    return count


def pin(fd: int, path: Path) -> None:
    result = library().bpf_obj_pin(fd, str(path).encode())
    if result:
        raise _fail(f"cannot pin at {path}", result)


def open_pin(path: Path) -> int | None:
    """A new descriptor of what is pinned at `path`, or None."""
    fd = int(library().bpf_obj_get(str(path).encode()))
    return fd if fd >= 0 else None


def attach_sock_ops(program: int, cgroup: int) -> None:
    result = library().bpf_prog_attach(program, cgroup, BPF_CGROUP_SOCK_OPS, BPF_F_ALLOW_MULTI)
    if result:
        raise _fail("cannot attach to the cgroup", result)


def detach_sock_ops(program: int, cgroup: int) -> bool:
    return not library().bpf_prog_detach2(program, cgroup, BPF_CGROUP_SOCK_OPS)


def attach_tcx(program: int, index: int, point: int) -> int | None:
    """Appends a program to those of an interface: the descriptor of a link, with which it can be taken away again even
    where the interface has gone to another network namespace.  None where the kernel has no tcx (before 6.6)."""
    link = int(library().bpf_link_create(program, index, point, None))
    if link < 0:
        error = _fail(f"cannot attach to interface {index}", link)
        if error.errno == errno.EINVAL:
            return None
        raise error
    return link


def replace_in_link(link: int, program: int) -> bool:
    """Puts a program into another's place at one instant; false where the interface is no more."""
    result = library().bpf_link_update(link, program, None)
    if result:
        error = _fail("cannot replace a program of an interface", result)
        if error.errno == errno.ENOLINK:
            return False
        raise error
    return True


def detach_link(link: int) -> None:
    """Takes its program off the interface, if both are still there."""
    library().bpf_link_detach(link)


class Runner:
    """Runs one program by hand on a frame, in the calling thread's network namespace (BPF_PROG_TEST_RUN)."""

    def __init__(self, program: int, size: int) -> None:
        self._program, self._room = program, ctypes.create_string_buffer(size)
        self._options = _TestRunOptions(sz=ctypes.sizeof(_TestRunOptions), repeat=1)
        self._options.data_in = self._options.data_out = ctypes.addressof(self._room)

    def run(self, frame: bytes) -> bytes:
        """The frame as the program leaves it, of the same length."""
        ctypes.memmove(self._room, frame, len(frame))
        self._options.data_size_in = self._options.data_size_out = len(frame)
        result = library().bpf_prog_test_run_opts(self._program, ctypes.byref(self._options))
        if result:
            raise _fail("cannot run the probe", result)
        return self._room.raw[: len(frame)]


class Walk:
    """An iterator program, attached once; `run` shows it every object of its kind in the thread's network namespace."""

    def __init__(self, program: int) -> None:
        self._link = library().bpf_link_create(program, 0, BPF_TRACE_ITER, None)
        if self._link < 0:
            raise _fail("cannot attach the iterator", self._link)

    def run(self) -> None:
        fd = library().bpf_iter_create(self._link)
        if fd < 0:
            raise _fail("cannot start the iterator", fd)
        try:
            while os.read(fd, 4096):
                pass
        finally:
            os.close(fd)

    def close(self) -> None:
        os.close(self._link)
