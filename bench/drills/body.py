#!/usr/bin/env python3
"""A large body through a mesh, and clients that hardly read: what memory that takes, and who waits for it.

    bench/drills/body.py BINARY [GIB]

Three nodes of one PoP. A body comes from the origin through the node that keeps its URL and the one that is
asked, once with its length told and once in chunks; the client compares digests. All the time another node's
memory, and this one's, is sampled. Beside it clients read one byte a second, of the same URL and of another;
what small objects take meanwhile is told with them and without. It fails where a digest differs, a request for a
small object fails, a node takes more than GROWTH_MAX_MIB, or the slow clients make others wait P99_TIMES_MAX times
as long.
"""

import hashlib
import http.client
import os
import socket
import sys
import threading
import time

from mesh import Mesh, Origin, quantiles

PIECE = 256 << 10
RATE, CONNECTIONS, LOAD_SECONDS = 200, 4, 10
# What a node may take beyond what it had: what it may keep of bodies on their way, and what sockets hold. About twice
# what is measured.
GROWTH_MAX_MIB = 80
# How much longer small objects may take beside slow clients than without them, at the 99th percentile.
P99_TIMES_MAX = 10
SLOW = 8


def pieces(count):
    """No two pieces are equal, and none is random to make."""
    base = os.urandom(PIECE - 8) if not pieces.base else pieces.base
    pieces.base = base
    for number in range(count):
        yield number.to_bytes(8, "big") + base


pieces.base = b""


def digest(count):
    total = hashlib.sha256()
    for piece in pieces(count):
        total.update(piece)
    return total.hexdigest()


def answer(path):
    """`/small/N`, `/told/PIECES/N`, `/chunked/PIECES/N`."""
    _, kind, *rest = path.split("/")
    fields = {"Cache-Control": "public, max-age=36000"}
    if kind == "small":
        return b"x" * 1024, fields
    if kind == "told":
        fields["Content-Length"] = str(int(rest[0]) * PIECE)
    return pieces(int(rest[0])), fields


class Memory(threading.Thread):
    """The most memory of each node, in MiB."""

    def __init__(self, mesh):
        super().__init__(daemon=True)
        self.mesh, self.begin, self.most, self.stop = mesh, None, None, threading.Event()
        self.forget()

    def forget(self):
        self.begin = [node.memory_mib() for node in self.mesh.nodes]
        self.most = list(self.begin)

    def run(self):
        while not self.stop.wait(0.02):
            now = [node.memory_mib() for node in self.mesh.nodes]
            if not all(now):
                # A node is gone, which `grown` tells.
                return
            self.most = [max(most, memory) for most, memory in zip(self.most, now)]

    def __str__(self):
        return ", ".join(f"{begin:.0f} to {most:.0f}" for begin, most in zip(self.begin, self.most))

    def grown(self):
        if not self.is_alive():
            raise SystemExit("the memory of the nodes was not sampled to the end")
        return max(most - begin for begin, most in zip(self.begin, self.most))


def begin(node, path):
    link = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=60)
    link.request("GET", path, headers={"Host": "www.example.com"})
    return link, link.getresponse()


def kept_elsewhere(node, kind, count):
    """A path that another node keeps than the one that is asked, and its answer."""
    for number in range(100):
        path = f"/{kind}/{count}/{number}"
        link, got = begin(node, path)
        if "," in got.headers["Cache-Status"]:
            return path, link, got
        link.close()
    raise SystemExit("every path is this node's own")


def transfer(node, kind, count):
    path, link, got = kept_elsewhere(node, kind, count)
    total, begun = hashlib.sha256(), time.monotonic()
    room, size = bytearray(PIECE), 0
    while read := got.readinto(room):
        total.update(memoryview(room)[:read])
        size += read
    link.close()
    took = time.monotonic() - begun
    is_same = size == count * PIECE and total.hexdigest() == digest(count)
    return is_same, size / took / (1 << 20), path


class Slow(threading.Thread):
    """Reads one byte a second."""

    def __init__(self, node, path):
        super().__init__(daemon=True)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", node.http_port))
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: www.example.com\r\n\r\n".encode())
        self.stop, self.read, self.is_over = threading.Event(), 0, False

    def run(self):
        while not self.stop.wait(1.0):
            try:
                byte = self.socket.recv(1)
            except OSError:
                byte = b""
            if not byte:
                self.is_over = True
                break
            self.read += 1
        self.socket.close()


def load(node):
    """How long small objects take in microseconds from when each was due, as text and at the 99th percentile, and
    what failed."""
    took, failed = [], []
    each = RATE * LOAD_SECONDS // CONNECTIONS

    def ask(first):
        link = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
        begun = time.monotonic()
        for number in range(each):
            due = begun + first / RATE + number * CONNECTIONS / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                link.request("GET", f"/small/{number % 10}", headers={"Host": "www.example.com"})
                got = link.getresponse()
                if len(got.read()) != 1024 or got.status != 200:
                    failed.append(f"a small object: {got.status}")
            except (OSError, http.client.HTTPException) as error:
                failed.append(f"a small object: {error!r}")
                # The next request connects anew.
                link.close()
            took.append((time.monotonic() - due) * 1e6)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = f"{quantiles(took)} µs, {len(failed)} failed"
    if len(took) != each * CONNECTIONS:
        failed.append(f"{len(took)} of {each * CONNECTIONS} small objects were asked for")
    p99 = sorted(took)[int(0.99 * len(took))] if took else float("inf")
    return told, p99, failed


def main():
    binary = sys.argv[1]
    count = int(float(sys.argv[2] if len(sys.argv) > 2 else 2) * (1 << 30)) // PIECE
    mesh = Mesh(binary, nodes=3, pops=("mil",), origin=Origin(answer).url)
    mesh.start()
    mesh.wait_ready()
    node, wrong = mesh.nodes[0], []

    def is_tiered():
        for number in range(20):
            link, got = begin(node, f"/small/warm-{time.monotonic()}-{number}")
            got.read()
            link.close()
            if "," in got.headers["Cache-Status"]:
                return True
        return "no other node keeps anything"

    mesh.wait("the nodes see each other", is_tiered)
    # The first time fills what is to be hit.
    for _ in range(2):
        alone, p99_alone, failed = load(node)
        wrong += failed
    print(f"{RATE}/s of 1 KiB at one node alone: {alone}", flush=True)
    memory = Memory(mesh)
    memory.start()
    for kind in ("told", "chunked"):
        memory.forget()
        is_same, speed, path = transfer(node, kind, count)
        print(f"{count * PIECE / (1 << 30):g} GiB, {kind}: {'the same' if is_same else 'NOT THE SAME'} at "
              f"{speed:.0f} MiB/s; memory of each node, MiB: {memory}", flush=True)
        wrong += [] if is_same and memory.grown() < GROWTH_MAX_MIB else [kind]
    memory.forget()
    slow = [Slow(node, path if number % 2 else f"/chunked/{count}/slow-{number}") for number in range(SLOW)]
    for one in slow:
        one.start()
    with_slow, p99, failed = load(node)
    wrong += failed
    wrong += [] if p99 <= P99_TIMES_MAX * p99_alone else [f"{p99:.0f} µs beside slow clients, {p99_alone:.0f} without"]
    print(f"{RATE}/s beside {SLOW} clients of 1 B/s, half of them of one URL: {with_slow}", flush=True)
    is_same, speed, _ = transfer(node, "chunked", count // 4)
    memory_grown = memory.grown()
    print(f"{count * PIECE / (1 << 32):g} GiB beside them: {'the same' if is_same else 'NOT THE SAME'} at {speed:.0f} "
          f"MiB/s; memory of each node, MiB: {memory}; {sum(one.is_over for one in slow)} of them were cut off, having "
          f"read {min(one.read for one in slow)} B at least", flush=True)
    wrong += [] if is_same and memory_grown < GROWTH_MAX_MIB else ["beside slow clients"]
    for one in slow + [memory]:
        one.stop.set()
    memory.join()
    for one in wrong:
        print("WRONG:", one)
    sys.exit(1 if wrong else 0)


main()
