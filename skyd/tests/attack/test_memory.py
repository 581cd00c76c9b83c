"""What clients cause stays within http.limits.memory, whatever they do together."""

import contextlib
import json
import threading
import time

import hostile_mix
from attacker import LONG, Daemon, WebSocket, load_graph, node

FROZEN, EVENTS = 300, 10_000


@LONG
def test_all_hostile_clients_together_stay_below_twice_the_budget(tmp_path):
    samples, peak, served, used = hostile_mix.run(tmp_path, 60)
    print("\n".join([*hostile_mix.plot(samples), *used, f"peak {peak} MiB, short queries {served}"]))
    assert peak <= hostile_mix.MOST
    assert served.get(200, 0) > 0


@LONG
def test_subscribers_that_never_read_do_not_delay_others(tmp_path):
    with Daemon(tmp_path, "http.limits.memory=512MiB") as daemon:
        publisher = load_graph(daemon, 100)
        publisher.send(("NodeAdded", node("busy", Count=0)))
        frozen = [WebSocket(daemon, "/ws/subscriber", host_id=f"frozen{n}") for n in range(FROZEN)]
        frozen += [WebSocket(daemon, "/ws/subscriber/flow", host_id=f"flow{n}") for n in range(20)]
        reader = WebSocket(daemon, "/ws/subscriber", host_id="reader")
        before, seen = daemon.measure()["rss"], []

        def read():
            with contextlib.suppress(OSError, EOFError):
                while not seen or seen[-1] < EVENTS:
                    text = reader.receive()[1]
                    if b'"NodeUpdated"' in text:
                        seen.append(json.loads(text)["Obj"]["Metadata"]["Count"])

        thread = threading.Thread(target=read)
        thread.start()
        for count in range(1, EVENTS + 1):
            publisher.send(("NodeUpdated", {**node("busy", Count=count, Pad="x" * 3000), "Revision": count + 1,
                                            "UpdatedAt": int(time.time() * 1000) + count}))
        thread.join(300)
        after = daemon.measure()
        print(f"{FROZEN} frozen subscribers, {EVENTS} events of 3 kB: RSS {before} -> {after['rss']} MiB, peak "
              f"{after['peak']}, the reader received {len(seen)}")
        assert seen == list(range(1, EVENTS + 1))
        assert after["peak"] < before + 400
        for client in frozen:
            client.close()
