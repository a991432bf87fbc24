"""Follows the feed of events with an off-the-shelf client for server-sent events, over every loss of the connection: it
comes back with the id of the last message, as browsers do, and gets every event once.

`follow_events.py URL TENANT COUNT`: ends once so many agents were registered, and fails when an event came twice, or out
of the order of its log.
"""

import json
import sys
import time

import httpx
from httpx_sse import connect_sse

url, tenant, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
last_id, connections, events, positions = "", 0, set(), {}
query = {"aggregate": "agent", "type": "agent.AgentRegistered", "tenant": tenant, "from": "beginning"}

with httpx.Client(timeout=30) as client:
    while len(events) < count:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            with connect_sse(client, "GET", f"{url}/v1/events", params=query, headers=headers) as source:
                source.response.raise_for_status()
                connections += 1
                for message in source.iter_sse():
                    last_id = message.id
                    if message.event == "agent.AgentRegistered":
                        event = json.loads(message.data)
                        assert event["event_id"] not in events, f"twice: {event}"
                        assert event["position"] > positions.get(event["log"], 0), f"out of order: {event}"
                        events.add(event["event_id"])
                        positions[event["log"]] = event["position"]
                    if len(events) % 50 == 0:
                        print(f"{len(events)} so far", flush=True)
                    if len(events) == count:
                        break
        except httpx.TransportError:
            time.sleep(0.2)

print(f"{len(events)} events, each once, over {connections} connections")
