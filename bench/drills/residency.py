#!/usr/bin/env python3
"""Sessions that must stay in the EU, on a mesh that is not all there, while everything moves.

    bench/drills/residency.py BINARY [SECONDS] [SEED]

Four nodes carry the label `eu`, three do not. Sessions of EU territories are written at all of them while
nodes are killed for longer than `placement.repair_after`, drained, and replicas are ordered to where the
label forbids: all of which must be refused. `hexpop shards residency` is asked again and again what nodes really hold; at the end the
files of all nodes are searched for the ids that were written.
"""

import http.client
import json
import os
import random
import sys
import threading
import time

from mesh import Mesh

MARK = b"residency-mark"
EU = ("PT:norte", "SE:skane", "AT:tirol", "GR:attica", "IE:leinster")
PLACES = [name.lower().replace(":", "-") for name in EU]
HEADERS = {"content-type": "application/json"}


class Writer(threading.Thread):
    def __init__(self, mesh, seed, stop):
        super().__init__(daemon=True)
        self.mesh, self.chance, self.stop = mesh, random.Random(seed), stop
        self.known, self.refused, self.last = {}, 0, None

    def run(self):
        made = 0
        while not self.stop.is_set():
            made += 1
            node = self.chance.choice(self.mesh.nodes)
            session = f"{self.chance.choice(PLACES)}.{MARK.decode()}-{made}"
            body = {"userId": f"user-{MARK.decode()}", "ttlSeconds": 86_400, "data": {"made": made}}
            try:
                status, text = call(node.http_port, "PUT", f"/api/v1/sessions/{session}", body)
            except (OSError, http.client.HTTPException) as error:
                status, text = 0, error
            if status == 201:
                self.known[session] = made
            else:
                self.refused += 1
                self.last = f"node {node.number}: {status} {text}"
            time.sleep(0.005)


def call(port, method, path, body=None, headers=HEADERS):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        link.request(method, path, body=json.dumps(body) if body is not None else None, headers=headers)
        answer = link.getresponse()
        return answer.status, answer.read()
    finally:
        link.close()


class Watcher(threading.Thread):
    """Asks what nodes hold. A node that is down holds it all the same: it is asked when it is back."""

    def __init__(self, mesh, stop):
        super().__init__(daemon=True)
        self.mesh, self.stop, self.asked, self.broken = mesh, stop, 0, []

    def run(self):
        while not self.stop.wait(0.5):
            live = self.mesh.live()
            node = live[self.asked % len(live)]
            done = self.mesh.run("shards", "residency", "--admin", node.admin, check=False)
            self.asked += 1
            # That a node is silent is no verdict about it.
            if any(line.startswith(EU) and "  ok" not in line for line in done.stdout.splitlines()):
                self.broken.append(done.stdout)


def is_ready(node):
    return node.get("/readyz", timeout=2.0)[0] == 200


def held(mesh, number):
    return sum(replica["node"] == number for shard in mesh.shards() for replica in shard["replicas"])


def marked(node):
    """Files of a node that hold what was written, by name."""
    found = []
    for root, _, names in os.walk(node.data):
        for name in names:
            with open(os.path.join(root, name), "rb") as file:
                if MARK in file.read():
                    found.append(os.path.relpath(os.path.join(root, name), node.data))
    return found


def main():
    binary = sys.argv[1]
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 180
    chance = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    eu = {1, 2, 3, 4}
    mesh = Mesh(binary, nodes=7, pops=("mil", "mad", "ber", "mil", "nyc", "sfo", "nyc"),
                territories=[f"{name}@eu" for name in EU] + ["US:texas", "IT:lombardia"],
                labels=lambda number: ("eu",) if number in eu else ("us",),
                extra='repair_after = "3s"\nmoves_at_once = 16\nsplit_keys = 2000\n')
    mesh.start()
    mesh.wait_ready()
    stop = threading.Event()
    writer, watcher = Writer(mesh, 1, stop), Watcher(mesh, stop)
    writer.start()
    watcher.start()
    begin = time.monotonic()
    done = {"kills": 0, "drains": 0, "orders": 0, "orders refused": 0}
    while time.monotonic() < begin + seconds:
        for shard in mesh.shards():
            if shard["range"]["text"] not in EU or chance.random() > 0.3:
                continue
            order = {"from": chance.choice(shard["replicas"])["node"], "to": chance.choice([5, 6, 7])}
            status, text = call(mesh.nodes[0].admin_port, "POST", f"/admin/v1/shards/{shard['id']}/move", order)
            done["orders"] += 1
            done["orders refused"] += status in (409, 422)
        victim = chance.choice(mesh.nodes[:4])
        victim.kill()
        done["kills"] += 1
        # Longer than it takes to give its replicas up.
        time.sleep(chance.uniform(1.0, 8.0))
        victim.start()
        mesh.wait(f"node {victim.number} is back", lambda: is_ready(victim), 60.0)
        victim = chance.choice(mesh.nodes[1:])
        status, _ = call(mesh.nodes[0].admin_port, "POST", "/admin/v1/drain", {"node": victim.number})
        if status == 202:
            done["drains"] += 1
            took = time.monotonic() + 15.0
            while held(mesh, victim.number) and time.monotonic() < took:
                time.sleep(0.2)
            call(mesh.nodes[0].admin_port, "DELETE", f"/admin/v1/drain?node={victim.number}")
            mesh.wait(f"node {victim.number} serves again", lambda: is_ready(victim), 60.0)
    stop.set()
    writer.join()
    watcher.join()
    mesh.wait("every shard has a leader", lambda: all(shard["leader"] for shard in mesh.shards()))
    print(f"{done}; {len(mesh.shards())} shards; {len(writer.known)} sessions acknowledged, "
          f"{writer.refused} calls refused or broken; the last: {writer.last}")
    lost = 0
    for session, made in writer.known.items():
        # The others have no key that opens it.
        node = chance.choice(mesh.nodes[:4])
        status, body = call(node.http_port, "GET", f"/api/v1/sessions/{session}",
                            headers={"hexpop-consistency": "strong"})
        lost += status != 200 or json.loads(body)["data"]["made"] != made
    print(f"lost: {lost}")
    last = mesh.run("shards", "residency", check=False, *("--admin", mesh.nodes[0].admin))
    print(f"asked {watcher.asked} times what nodes hold: {len(watcher.broken)} times against a label; at last:")
    print(last.stdout + last.stderr)
    for text in watcher.broken[:3]:
        print("earlier:", text)
    files = {node.number: marked(node) for node in mesh.nodes}
    for number, names in files.items():
        print(f"node {number} ({'eu' if number in eu else 'elsewhere'}): {len(names)} files with what was written "
              + " ".join(names[:5]))
    outside = [number for number, names in files.items() if names and number not in eu]
    inside = [number for number, names in files.items() if names and number in eu]
    if done["orders"] != done["orders refused"]:
        raise SystemExit("an order against a label was taken")
    if not inside:
        raise SystemExit("the search of files finds nothing where it must")
    sys.exit(1 if outside or lost or watcher.broken or last.returncode else 0)


main()
