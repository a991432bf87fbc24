"""Where a fleet is, and a few lines that every example shares. All of it comes from the environment:

AGENTVERSE_KAFKA     brokers                       127.0.0.1:9092
AGENTVERSE_REGISTRY  Confluent-compatible registry http://127.0.0.1:8081/apis/ccompat/v7
AGENTVERSE_PREFIX    the fleet's topic_prefix
AGENTVERSE_CQL       a node of the database        127.0.0.1:9042
AGENTVERSE_KEYSPACE  the fleet's keyspace          agentverse
"""

import os
import time

KAFKA = os.environ.get("AGENTVERSE_KAFKA", "127.0.0.1:9092")
REGISTRY = os.environ.get("AGENTVERSE_REGISTRY", "http://127.0.0.1:8081/apis/ccompat/v7")
PREFIX = os.environ.get("AGENTVERSE_PREFIX", "")
CQL = os.environ.get("AGENTVERSE_CQL", "127.0.0.1:9042")
KEYSPACE = os.environ.get("AGENTVERSE_KEYSPACE", "agentverse")
AGGREGATES = ["tenant", "agent_template", "agent", "mcp_server", "llm_provider", "coupling", "llm_request"]
# The longest that an answer may take, in seconds.
PATIENCE_S = 60


def topic(name):
    return f"{PREFIX}agentverse.{name}.v1"


def headers(message):
    """Headers as text, by name."""
    return {name: value.decode() for name, value in message.headers() or []}


def records(topics, enough):
    """Every record of these topics from the beginning, until `enough(list)` says so; fails after PATIENCE_S."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    # No group: offsets are the reader's own affair, and two readers do not share partitions.
    consumer = Consumer({"bootstrap.servers": KAFKA, "group.id": "unused", "enable.auto.commit": False})
    known = consumer.list_topics(timeout=10).topics
    consumer.assign(
        [TopicPartition(name, number, OFFSET_BEGINNING) for name in topics for number in known[name].partitions]
    )
    found, deadline = [], time.monotonic() + PATIENCE_S
    while not enough(found):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE_S} s for {enough.__doc__ or 'records'}; {len(found)} came on {topics}")
        for message in consumer.consume(1000, timeout=0.2):
            if message.error():
                raise SystemExit(f"{message.error()}")
            found.append(message)
    consumer.close()
    return found


def database():
    """A session that reads at LOCAL_QUORUM, and the numbers that the fleet was made with."""
    from cassandra import ConsistencyLevel
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile

    host, port = CQL.rsplit(":", 1)
    profile = ExecutionProfile(consistency_level=ConsistencyLevel.LOCAL_QUORUM, request_timeout=30)
    cluster = Cluster([host], port=int(port), execution_profiles={EXEC_PROFILE_DEFAULT: profile})
    session = cluster.connect(KEYSPACE)
    return session, {row.name: row.value for row in session.execute("SELECT name, value FROM fleet")}
