#!/usr/bin/env python3
"""Shards divide and move, a node joins and one is drained, under searches and session writes.

    bench/drills/churn.py BINARY [SECONDS] [SEED] [--kill] [--merge] [FILE…]

Five nodes of three PoPs, and a sixth that joins; the listings of the files (or 20,000 synthetic ones) come
from a stand-in origin. Whatever is asked is compared with a scan over all of them; sessions are compared
with what was acknowledged. With `--kill`, a random node is killed every few seconds and started again; with
`--merge`, neighbours that were divided are merged, too.
"""

import collections
import http.client
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time

from mesh import Mesh, free_ports, quantiles

SEARCHERS, WRITERS, LARGEST, TERRITORIES = 3, 3, 4_000, 32
TRIES = 40
HEADERS = {"content-type": "application/json"}


class Oracle:
    """What a search must find: a scan, written from the API's text alone."""

    def __init__(self, listings):
        self.active = sorted((one for one in listings if one["status"] == "active"), key=lambda one: one["id"])

    @staticmethod
    def distance(center, place):
        (lat, lng), (to_lat, to_lng) = [(math.radians(at["lat"]), math.radians(at["lng"]))
                                        for at in (center, place)]
        half = (math.sin((to_lat - lat) / 2) ** 2
                + math.cos(lat) * math.cos(to_lat) * math.sin((to_lng - lng) / 2) ** 2)
        return 2 * 6371.0088 * math.asin(math.sqrt(min(1.0, half)))

    def find(self, search):
        def matches(one):
            price, place = one["price"], one.get("location")
            geo = search.get("geoFilter")
            return (one["listingType"] == search["listingType"]
                    and search.get("currency") in (None, price["currency"])
                    and search.get("period") in (None, price.get("period"))
                    and search.get("priceMin", -math.inf) <= price["amount"] <= search.get("priceMax", math.inf)
                    and ("bedroomsMin" not in search or one.get("bedrooms", -1) >= search["bedroomsMin"])
                    and ("territories" not in search or one["country"] in search["territories"]
                         or f"{one['country']}:{one['region']}" in search["territories"])
                    and (geo is None or place is not None
                         and self.distance(geo["center"], place) <= geo["radiusKm"]))
        found = [one for one in self.active if matches(one)]
        if search.get("sortBy") == "price_desc":
            found.sort(key=lambda one: -one["price"]["amount"])
        elif search.get("sortBy") == "price_asc":
            found.sort(key=lambda one: one["price"]["amount"])
        return found

    def answer(self, search):
        found = self.find(search)
        types = collections.Counter(one["propertyType"] for one in found if "propertyType" in one)
        facet = [{"key": key, "count": count}
                 for key, count in sorted(types.items(), key=lambda pair: (-pair[1], pair[0]))]
        return {"total": len(found), "ids": [one["id"] for one in found], "types": facet}


def searches(listings, chance, count=60):
    """Some of every kind; all have one order that only ids break ties of."""
    made = []
    while len(made) < count:
        one = chance.choice(listings)
        price = one["price"]
        search = {"listingType": one["listingType"], "sortBy": chance.choice(["price_asc", "price_desc"]),
                  "limit": 50, "facets": ["propertyTypes"]}
        kind = len(made) % 4
        if kind == 0:
            search |= {"currency": price["currency"], "priceMin": price["amount"] * 0.8}
        elif kind == 1:
            search |= {"territories": [chance.choice([one["country"], f"{one['country']}:{one['region']}"])]}
        elif kind == 2 and "location" in one:
            search |= {"geoFilter": {"type": "radius", "center": one["location"],
                                     "radiusKm": chance.choice([2.5, 12.5, 80.0])}}
        else:
            search |= {"bedroomsMin": 2}
        made.append(search)
    return made


class Client:
    """Of a service with several addresses: what an address does not answer, it asks the next one."""

    def __init__(self, mesh, chance):
        self.mesh, self.chance, self.links = mesh, chance, {}

    def call(self, node, method, path, body=None, headers=HEADERS):
        link = self.links.get(node.number)
        if link is None:
            link = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=10.0)
            self.links[node.number] = link
        try:
            link.request(method, path, body=json.dumps(body) if body is not None else None, headers=headers)
            answer = link.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError):
            link.close()
            self.links.pop(node.number, None)
            raise

    def node(self):
        return self.chance.choice(self.mesh.serving)


class Searcher(threading.Thread):
    def __init__(self, mesh, oracle, asked, seed, stop):
        super().__init__(daemon=True)
        self.client, self.chance = Client(mesh, random.Random(seed)), random.Random(seed + 1)
        self.asked = [(search, oracle.answer(search)) for search in asked]
        self.stop = stop
        self.right = self.partial = self.refused = self.broken = self.walks = self.gone = 0
        self.wrong, self.failed, self.took = [], [], []

    def run(self):
        while not self.stop.is_set():
            search, expected = self.chance.choice(self.asked)
            walk = self.chance.random() < 0.1
            begin = time.monotonic()
            for _ in range(TRIES):
                node = self.client.node()
                try:
                    if self.ask(node, search, expected, walk):
                        break
                except (OSError, http.client.HTTPException, ValueError):
                    self.broken += 1
                time.sleep(0.05)
            else:
                self.failed.append(f"node {node.number}: {search}")
            self.took.append((time.monotonic() - begin) * 1000)

    def ask(self, node, search, expected, walk):
        """Whether it was answered as a whole; a walk goes through all pages, each at some node."""
        ids, cursor, pages = [], None, 0
        while True:
            body = search | ({"cursor": cursor} if cursor else {})
            if walk:
                body = body | {"limit": 200}
            status, answer = self.client.call(node, "POST", "/api/v1/search", body)
            if status == 410 and cursor:
                # Its page can not be given exactly any more: it says so.
                self.gone += 1
                return False
            if status in (429, 503):
                self.refused += 1
                return False
            if status != 200:
                self.wrong.append(f"node {node.number}: {status} {answer} for {body}")
                return True
            if answer["partial"]:
                self.partial += 1
                return False
            page = [one["id"] for one in answer["data"]]
            ids += page
            pages += 1
            right = (answer["pagination"]["total"] == expected["total"]
                     and answer["facets"]["propertyTypes"] == expected["types"]
                     and ids == expected["ids"][:len(ids)])
            more = answer["pagination"].get("hasMore")
            if not right or more != (len(ids) < expected["total"]):
                self.wrong.append(f"node {node.number}: total {answer['pagination']} for {expected['total']}, "
                                  f"page {pages} of {len(page)}, {body}")
                return True
            if not walk or not more or pages == 8:
                self.right += 1
                self.walks += walk
                return True
            cursor = answer["pagination"]["cursor"]
            node = self.client.node()


class Writer(threading.Thread):
    """Replaces its own sessions, and makes new ones, so that shards grow."""

    def __init__(self, mesh, number, places, stop):
        super().__init__(daemon=True)
        self.client, self.chance = Client(mesh, random.Random(number)), random.Random(number)
        self.number, self.places, self.stop = number, places, stop
        self.known, self.open = {}, {}
        self.acknowledged = self.unknown = self.refused = self.stale = 0
        self.failed, self.wrong, self.took = [], [], []

    def run(self):
        made = 0
        while not self.stop.is_set():
            if self.known and self.chance.random() < 0.5:
                session = self.chance.choice(list(self.known))
            else:
                made += 1
                session = f"{self.chance.choice(self.places)}.w{self.number}-{made}"
            value = self.acknowledged + self.unknown + self.refused
            self.write(session, f"{value}-{made}")
            if self.known and self.chance.random() < 0.3:
                self.read(self.chance.choice(list(self.known)))

    def write(self, session, value):
        begin = time.monotonic()
        body = {"userId": f"u{self.number}", "ttlSeconds": 86_400, "data": {"value": value}}
        for attempt in range(TRIES):
            node = self.client.node()
            try:
                status, answer = self.client.call(node, "PUT", f"/api/v1/sessions/{session}", body)
            except (OSError, http.client.HTTPException, ValueError):
                status, answer = 0, {}
            if status in (200, 201):
                self.acknowledged += 1
                self.known[session] = value
                self.open.pop(session, None)
                break
            if status not in (0, 429, 503, 504):
                self.wrong.append(f"write of {session} at node {node.number}: {status} {answer}")
                break
            if status and answer.get("applied") is False:
                self.refused += 1
            else:
                self.unknown += 1
                self.open.setdefault(session, set()).add(value)
            time.sleep(0.02)
        else:
            self.failed.append(f"write of {session}: {status} {answer}")
        self.took.append((time.monotonic() - begin) * 1000)

    def read(self, session):
        for attempt in range(TRIES):
            node = self.client.node()
            try:
                status, answer = self.client.call(node, "GET", f"/api/v1/sessions/{session}",
                                                  headers={"hexpop-consistency": "strong"})
            except (OSError, http.client.HTTPException, ValueError):
                status = 0
            if status == 200:
                found = answer["data"]["value"]
                if found != self.known[session] and found not in self.open.get(session, ()):
                    self.wrong.append(f"{session} at node {node.number}: {found}, "
                                      f"acknowledged {self.known[session]}")
                return
            if status not in (0, 429, 503, 504):
                self.wrong.append(f"{session} at node {node.number}: {status} {answer}")
                return
            time.sleep(0.02)
        self.failed.append(f"read of {session}: {status}")


class Killer(threading.Thread):
    """Kills one after the other; the next when the last one is back."""

    def __init__(self, mesh, chance, stop):
        super().__init__(daemon=True)
        self.mesh, self.chance, self.stop, self.kills = mesh, chance, stop, 0

    def run(self):
        while not self.stop.wait(self.chance.uniform(2.0, 4.0)):
            with self.mesh.one_away:
                victim = self.chance.choice(self.mesh.serving)
                victim.kill()
                self.kills += 1
                time.sleep(self.chance.uniform(0.5, 2.0))
                victim.start()
                self.mesh.wait(f"node {victim.number} is back", lambda: is_ready(victim), 60.0)


def is_ready(node):
    return node.get("/readyz", timeout=2.0)[0] == 200


def operations(mesh):
    found = {}
    for node in mesh.live():
        try:
            for one in node.json("/admin/v1/operations")["operations"]:
                found[one["id"]] = one
        except OSError:
            pass
    return found


def holds(mesh, number, asked):
    return sum(replica["node"] == number for shard in mesh.shards(asked) for replica in shard["replicas"])


def tell(mesh, method, path, body=None, tries=200):
    """To any node that is up; answers status and body."""
    for _ in range(tries):
        node = mesh.live()[0]
        link = http.client.HTTPConnection("127.0.0.1", node.admin_port, timeout=10.0)
        try:
            link.request(method, path, body=json.dumps(body) if body is not None else None, headers=HEADERS)
            answer = link.getresponse()
            text = answer.read()
            if answer.status not in (409, 503):
                return answer.status, text
        except OSError:
            pass
        finally:
            link.close()
        time.sleep(0.1)
    return None, None


def step(mesh, what, begin):
    print(f"{time.monotonic() - begin:6.1f} s  {what}", flush=True)


def merge(mesh, chance, begin):
    """Orders that two neighbours of each space are made one, where there are such that may be."""
    for space in ("listings", "sessions", "directory"):
        shards = {shard["range"]["start"]: shard for shard in mesh.shards() if shard["space"] == space}
        pairs = [(left, shards[left["range"]["end"]]) for left in shards.values() if left["range"]["end"] in shards]
        chance.shuffle(pairs)
        # Those of one territory only; whoever moves or divides is refused for now.
        for left, right in pairs:
            status, text = tell(mesh, "POST", f"/admin/v1/shards/{left['id']}/merge", {"with": right["id"]}, tries=1)
            if status == 202:
                step(mesh, f"merge of {left['id']} and {right['id']} ({space}): {status}", begin)
                break


def churn(mesh, chance, seconds, begin, merges):
    """One round of everything after the other, until the time is over."""
    end = begin + seconds
    joined = False
    while time.monotonic() < end:
        for space in ("listings", "sessions", "directory"):
            shards = [shard for shard in mesh.shards() if shard["space"] == space]
            shard = max(shards, key=lambda one: one.get("keys") or 0)
            status, _ = tell(mesh, "POST", f"/admin/v1/shards/{shard['id']}/split", {})
            step(mesh, f"split of {shard['id']} ({space}) by hand: {status}", begin)
        for _ in range(3):
            shard = chance.choice(mesh.shards())
            held = [replica["node"] for replica in shard["replicas"]]
            free = [node.number for node in mesh.serving if node.number not in held]
            if free:
                move = {"from": chance.choice(held), "to": chance.choice(free)}
                status, _ = tell(mesh, "POST", f"/admin/v1/shards/{shard['id']}/move", move)
                step(mesh, f"move of {shard['id']} {move}: {status}", begin)
        if merges:
            merge(mesh, chance, begin)
        if not joined:
            joined = True
            last = mesh.nodes[-1].start()
            took = mesh.wait("the last node is ready", lambda: is_ready(last))
            mesh.serving = mesh.serving + [last]
            step(mesh, f"node {last.number} joined, ready after {took:.1f} s", begin)
            took = mesh.wait("the last node holds a share", lambda: (
                count := holds(mesh, last.number, None)) >= 5 or count, 180.0)
            step(mesh, f"node {last.number} holds 5 replicas after {took:.1f} s", begin)
        victim = chance.choice(mesh.serving)
        with mesh.one_away:
            mesh.serving = [node for node in mesh.serving if node is not victim]
        held = holds(mesh, victim.number, None)
        status, _ = tell(mesh, "POST", "/admin/v1/drain", {"node": victim.number})
        took = mesh.wait(f"node {victim.number} holds nothing", lambda: (
            count := holds(mesh, victim.number, None)) == 0 or count, 300.0)
        step(mesh, f"node {victim.number} drained of {held} replicas in {took:.1f} s: {status}", begin)
        with mesh.one_away:
            victim.kill(signal.SIGTERM)
            time.sleep(1.0)
            victim.start()
            # A drain lasts through a restart.
            mesh.wait(f"node {victim.number} listens", lambda: victim.get("/livez")[0] == 200, 60.0)
            mesh.wait("the drain is undone", lambda: (
                answer := tell(mesh, "DELETE", f"/admin/v1/drain?node={victim.number}"))[0] in (200, 202, 204) or answer)
            mesh.wait(f"node {victim.number} is back", lambda: is_ready(victim), 60.0)
            mesh.serving = mesh.serving + [victim]
        step(mesh, f"node {victim.number} is back", begin)


def main():
    binary, *words = sys.argv[1:]
    kill, merges = "--kill" in words, "--merge" in words
    files = [word for word in words if os.path.exists(word)]
    numbers = [int(word) for word in words if word.isdigit()]
    seconds, seed = (numbers + [120, 1][len(numbers):])[:2]
    chance = random.Random(seed)
    data = ("--data", *files) if files else ("--listings", "20000")
    listings = platform(binary, data)
    counts = collections.Counter(f"{one['country']}:{one['region']}" for one in listings)
    territories = [name for name, _ in counts.most_common(TERRITORIES)]
    # The mesh answers for the territories that it is configured for.
    listings = [one for one in listings if f"{one['country']}:{one['region']}" in territories]
    places = [name.lower().replace(":", "-") for name in territories[:3]] + ["nz-otago"]
    mesh = Mesh(binary, nodes=6, territories=territories, founders=5,
                extra=f"split_keys = {LARGEST}\nmoves_at_once = 8\nrepair_after = \"20s\"\n"
                      f"merge = {str(merges).lower()}\n")
    mesh.one_away = threading.Lock()
    mesh.start(data, nodes=5)
    mesh.serving = mesh.nodes[:5]
    took = mesh.wait_ready(300.0)
    took += mesh.wait("all listings are in", lambda: all(
        (found := node.json("/admin/v1/status")["listings"]["total"]) == len(listings) or found
        for node in mesh.live()), 600.0)
    oracle = Oracle(listings)
    asked = searches(oracle.active, random.Random(seed))
    print(f"{len(listings)} listings in {len(mesh.shards())} shards after {took:.0f} s", flush=True)
    stop = threading.Event()
    searchers = [Searcher(mesh, oracle, asked, seed + number, stop) for number in range(SEARCHERS)]
    writers = [Writer(mesh, number, places, stop) for number in range(WRITERS)]
    killer = Killer(mesh, chance, stop)
    load = searchers + writers + ([killer] if kill else [])
    before, begin = mesh.shards(), time.monotonic()
    for thread in load:
        thread.start()
    churn(mesh, random.Random(seed + 99), seconds, begin, merges)
    stop.set()
    for thread in load:
        thread.join()
    after = mesh.shards()
    states = collections.Counter((str(one.get("kind")), one.get("state")) for one in operations(mesh).values())
    print(f"shards: {len(before)} before, {len(after)} after; recent operations: "
          + ", ".join(f"{count} {kind} {state}" for (kind, state), count in sorted(states.items())))
    print(f"kills: {killer.kills}")
    total = collections.Counter()
    for one in searchers:
        for name in ("right", "walks", "partial", "refused", "broken", "gone"):
            total[name] += getattr(one, name)
    print("searches:", dict(total), quantiles([took for one in searchers for took in one.took]))
    wrong = [text for one in searchers + writers for text in one.wrong]
    failed = [text for one in searchers + writers for text in one.failed]
    # All that was acknowledged is there, whomever one asks.
    mesh.wait("every shard has a leader", lambda: all(shard["leader"] for shard in mesh.shards()))
    checked = 0
    for one in writers:
        for session in list(one.known):
            one.wrong.clear()
            one.read(session)
            wrong += one.wrong
            checked += 1
    total = collections.Counter()
    for one in writers:
        for name in ("acknowledged", "unknown", "refused"):
            total[name] += getattr(one, name)
    print("writes:", dict(total), quantiles([took for one in writers for took in one.took], (0.5, 0.99, 0.999, 1.0)))
    print(f"{checked} sessions read again; wrong answers: {len(wrong)}; failed calls: {len(failed)}")
    for text in wrong[:10] + failed[:10]:
        print("  ", text[:600])
    sys.exit(1 if wrong or failed else 0)


def platform(binary, data):
    """What an origin with this data has."""
    port = free_ports(1)[0]
    origin = subprocess.Popen([binary, "origin", "--listen", f"127.0.0.1:{port}", *data],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        listings, after, end = [], "", time.monotonic() + 60.0
        while True:
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=30.0)
            try:
                link.request("GET", f"/edge/v1/listings?limit=1000&after={after}")
                page = [json.loads(line) for line in link.getresponse().read().splitlines() if line]
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
                continue
            finally:
                link.close()
            if not page:
                return listings
            listings += page
            after = page[-1]["id"]
    finally:
        origin.kill()
        origin.wait()


main()
