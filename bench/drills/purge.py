#!/usr/bin/env python3
"""How soon a purge by tag is everywhere, and what a node serves that was cut off meanwhile.

    bench/drills/purge.py BINARY [PURGES] [CUTS]

Five nodes; every one is asked for one object all the time. With each purge the origin's copy changes: the
time is from the call to the last old answer of each node. Then a node is cut off while the object is purged,
and healed: after that it must not serve the old one.
"""

import http.client
import json
import sys
import threading
import time

from mesh import Mesh, Origin, quantiles

PATH = "/objects/one"


class Current:
    """What the origin has."""
    version = 0


def answer(path):
    fields = {"Cache-Control": "public, max-age=36000", "Surrogate-Key": "one"}
    return (str(Current.version).encode(), fields) if path == PATH else None


class Asker(threading.Thread):
    """Asks one node for the object; keeps when it was asked and what it said."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.seen, self.stop = node, [], False

    def run(self):
        link = http.client.HTTPConnection("127.0.0.1", self.node.http_port, timeout=10)
        while not self.stop:
            asked = time.monotonic()
            try:
                link.request("GET", PATH)
                answer = link.getresponse()
                body = answer.read()
                said = int(body) if answer.status == 200 else None
            except (OSError, http.client.HTTPException, ValueError):
                link.close()
                said = None
            if said is not None:
                self.seen.append((asked, said))
            time.sleep(0.002)


def purge(node):
    link = http.client.HTTPConnection("127.0.0.1", node.admin_port, timeout=20)
    link.request("POST", "/admin/v1/purge", json.dumps({"tags": ["one"]}), {"content-type": "application/json"})
    answer = link.getresponse()
    return answer.status, json.loads(answer.read())


def main():
    binary = sys.argv[1]
    purges = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    cuts = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    mesh = Mesh(binary, nodes=5, origin=Origin(answer).url)
    mesh.start()
    mesh.wait_ready()
    askers = [Asker(node) for node in mesh.nodes]
    for asker in askers:
        asker.start()
    answered, gone = [], []

    def is_new(asker):
        return asker.seen and asker.seen[-1][1] == Current.version

    for number in range(purges):
        mesh.wait("everybody has the newest", lambda: all(is_new(asker) for asker in askers), pause=0.002)
        time.sleep(0.05)
        Current.version += 1
        begun = time.monotonic()
        status, receipt = purge(mesh.nodes[number % 5])
        if status != 200:
            raise SystemExit(f"purge: {status} {receipt}")
        answered.append((time.monotonic() - begun) * 1000)
        mesh.wait("everybody has the newest", lambda: all(is_new(asker) for asker in askers), pause=0.002)
        for asker in askers:
            old = [asked for asked, said in asker.seen[-1000:] if said < Current.version and asked >= begun]
            gone.append((old[-1] - begun) * 1000 if old else 0.0)
    print(f"{purges} purges: answered after, ms: {quantiles(answered)}")
    print(f"last old answer of each node after the call, ms: {quantiles(gone)}", flush=True)
    away, wrong, served_cut = mesh.nodes[4], 0, 0
    for _ in range(cuts):
        mesh.wait("everybody has the newest", lambda: all(is_new(asker) for asker in askers), pause=0.002)
        for side in ("link-in", "link-out"):
            mesh.run("faults", "add", "--where", side, "--what", "cut", "--ttl", "8s", "--admin", away.admin)
        cut = time.monotonic()
        time.sleep(0.5)
        Current.version += 1
        begun = time.monotonic()
        status, receipt = purge(mesh.nodes[0])
        took = time.monotonic() - begun
        mesh.wait("the faults are over", lambda: not away.json("/admin/v1/faults")["faults"], pause=0.01)
        healed = time.monotonic()
        time.sleep(5.0)
        old = [asked for asked, said in askers[4].seen if said < Current.version and asked >= begun]
        late = [asked for asked in old if asked > healed]
        wrong += len(late)
        served_cut += len(old) - len(late)
        print(f"cut off: purge answered {status} after {took:.1f} s, {receipt.get('pending', receipt)}; the node's last "
              f"old answer {(old[-1] - cut) if old else 0:.2f} s after the cut, healed after {healed - cut:.1f} s; "
              f"{len(late)} old ones since", flush=True)
    for asker in askers:
        asker.stop = True
    print(f"old answers after healing: {wrong}; while cut off: {served_cut}")
    sys.exit(1 if wrong else 0)


main()
