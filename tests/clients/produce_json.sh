#!/usr/bin/env bash
# Sends commands as JSON with kcat, and reads their events and outcomes: what a shell script can do without a registry.
#
# First with the partitioner that the fleet uses, then with librdkafka's default one, which puts most keys on other
# partitions: those commands are sent on, counted, and take effect once.
#
#   AGENTVERSE_KAFKA    brokers (127.0.0.1:9092)
#   AGENTVERSE_PREFIX   the fleet's topic_prefix
#   AGENTVERSE_METRICS  /metrics of every `process`, separated by spaces (http://127.0.0.1:7400/metrics)
set -euo pipefail

brokers=${AGENTVERSE_KAFKA:-127.0.0.1:9092}
prefix=${AGENTVERSE_PREFIX-}agentverse
metrics=${AGENTVERSE_METRICS:-http://127.0.0.1:7400/metrics}
patience_s=60
foreign=20

fail() { printf 'failed: %s\n' "$*" >&2; exit 1; }
new_id() { cat /proc/sys/kernel/random/uuid; }

# send TOPIC TYPE ID [kcat's arguments]: lines KEY|JSON become commands. The key is the stream's id. A UUID as ce_id is
# the command's id, under which its outcome is told.
send() {
  local topic=$1 type=$2 id=$3
  shift 3
  kcat -P -b "$brokers" -t "$prefix.$topic.commands.v1" -K '|' -H "ce_type=$type" -H "ce_id=$id" \
    -H ce_source=/examples/kcat -H "ce_tenantid=$tenant" -H content-type=application/json "$@"
}

# read_all TOPIC FORMAT: every record from the beginning to the end. The headers of an event end with a binary one,
# `record`; kcat prints it up to its first zero byte, and as JSON (-J) not at all well.
read_all() { kcat -C -q -e -o beginning -b "$brokers" -t "$prefix.$1.v1" -f "$2" | tr -d '\0'; }

# wait_for COUNT TOPIC PATTERN FORMAT: reads until so many lines match, and prints them.
wait_for() {
  local lines deadline=$((SECONDS + patience_s))
  until lines=$(read_all "$2" "$4" | grep -aE -- "$3") && [ "$(wc -l <<<"$lines")" -ge "$1" ]; do
    [ $SECONDS -lt $deadline ] || fail "waited $patience_s s for $1 records on $2 like $3"
    sleep 0.2
  done
  printf '%s\n' "$lines"
}

forwards() { # shellcheck disable=SC2086
  curl -fsS $metrics | awk '$1 == "agentverse_receive_forwards_total" { sum += $2 } END { print sum + 0 }'
}

# --- A tenant and an agent

tenant=$(new_id) agent=$(new_id)
printf '%s|{"name":"Acme","region":"eu-west"}\n' "$tenant" |
  send tenant tenant.ProvisionTenant "$tenant" -X partitioner=murmur2_random
wait_for 1 command-outcomes "^$tenant " '%k %h\n' >/dev/null

printf '%s|{"name":"Ada","category":"research","purpose":"finds papers","role":"analyst"}\n' "$agent" |
  send agent agent.RegisterAgent "$agent" -X partitioner=murmur2_random -H ce_correlationid=walk-1
event=$(wait_for 1 agent.events "^$agent " '%k %h\n')
for header in ce_type=agent.AgentRegistered "ce_subject=$agent" "ce_tenantid=$tenant" "ce_causationid=$agent" \
  ce_correlationid=walk-1 ce_version=1 content-type=application/avro; do
  [[ $event == *"$header"* ]] || fail "the event has no header $header: $event"
done
outcome=$(wait_for 1 command-outcomes "^$agent " '%k %h\n')
[[ $outcome == *"ce_type=outcome.CommandOutcome"* && $outcome == *"ce_outcome=applied"* && $outcome == *"ce_subject=$agent"* ]] || fail "not its outcome: $outcome"
printf 'agent %s was registered\n' "$agent"

# --- The same with a partitioner that is not the fleet's, each command twice

before=$(forwards) agents=()
for _ in $(seq $foreign); do
  agent=$(new_id) agents+=("$agent")
  for _ in 1 2; do
    printf '%s|{"name":"Eve","category":"research","purpose":"p","role":"r"}\n' "$agent" |
      send agent agent.RegisterAgent "$agent" -X partitioner=consistent_random
  done
done
any=$(IFS='|' && printf '%s' "${agents[*]}")
wait_for $((2 * foreign)) command-outcomes "^($any) " '%k %h\n' >/dev/null
events=$(wait_for $foreign agent.events "^($any) " '%k %p\n')
[ "$(wc -l <<<"$events")" -eq $foreign ] || fail "a command took effect twice: $events"

# Where the producer put each command, beside the home of its stream, which its event tells.
wrong=$(wait_for $((2 * foreign)) agent.commands "^($any) " '%k %p %h\n' | grep -v ce_forwardedfrom |
  awk 'NR == FNR { home[$1] = $2; next } home[$1] != $2 { wrong++ } END { print wrong + 0 }' <(printf '%s\n' "$events") -)
[ "$wrong" -gt 0 ] || fail "no key of $foreign was on a wrong partition: does the topic have but one?"
sent_on=$(($(forwards) - before))
[ "$sent_on" -eq "$wrong" ] || fail "$wrong commands were on a wrong partition, and $sent_on were counted as sent on"
printf '%s of %s commands came on a wrong partition, were sent on, and took effect once\n' "$wrong" $((2 * foreign))
