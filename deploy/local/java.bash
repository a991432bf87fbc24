# shellcheck shell=bash disable=SC2154
# The Java way: servers from Maven Central, as processes of this user. Read by `servers`, whose variables it uses.
# Linux alone, because a process is known by /proc.

# What only this server of this folder has on its command line.
mark_of() { echo "-Dagentverse.local.server=$data/$1"; }

# A process id comes from the file, or, where that was lost, from a look at all processes; trusted only with the mark.
java_pid() {
  local pid mark
  mark=$(mark_of "$1")
  if read -r pid 2>/dev/null <"$run/$1.pid" && [[ $pid =~ ^[0-9]+$ ]] && marked "$pid" "$mark"; then
    echo "$pid"
    return
  fi
  for pid in /proc/[0-9]*; do
    pid=${pid#/proc/}
    if [ "$pid" != "$$" ] && marked "$pid" "$mark"; then
      echo "$pid"
      return
    fi
  done
  return 1
}

marked() {
  local argv=() word
  { mapfile -d '' -t argv <"/proc/$1/cmdline"; } 2>/dev/null || return 1
  # Whoever searches for the mark has it among the words too, so the program counts: java, or what becomes it.
  [[ ${argv[0]-} =~ (^|/)(java|bash|setsid)$ ]] || return 1
  for word in "${argv[@]}"; do
    [ "$word" != "$2" ] || return 0
  done
  return 1
}

# Java 17 to 23: older ones run none of the three, and Cassandra 5.0 needs the security manager, which 24 took away.
find_java() {
  local candidate version found=()
  for candidate in "${JAVA_HOME:-/nowhere}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    [ -x "$candidate" ] || continue
    version=$("$candidate" -version 2>&1 | sed -nE '1s/.* "([0-9]+).*/\1/p')
    [[ $version =~ ^[0-9]+$ ]] || continue
    if [ "$version" -ge 17 ] && [ "$version" -le 23 ]; then
      java=$candidate
      return
    fi
    found+=("$version")
  done
  java_missing="Java 17 to 23 (found: ${found[*]:-none}; on Debian and Ubuntu: apt-get install openjdk-17-jre-headless)"
  return 1
}

downloaded() { cmp -s "$here/$1.pom.xml" "$lib/$1/pom.xml"; }

# The folder gets its name when it is whole, and holds the pom that it came of, so that a new version is fetched anew.
download() {
  downloaded "$1" && return
  say "downloading $1"
  rm -rf "$lib/$1.part"
  mkdir "$lib/$1.part"
  mvn -q -B -ntp -Dstyle.color=never -f "$here/$1.pom.xml" -Dmaven.repo.local="$lib/.maven" -Dto="$lib/$1.part" </dev/null >&2 ||
    lacking "$1 could not be downloaded from Maven Central; Maven says why above (the network, most often)"
  cp "$here/$1.pom.xml" "$lib/$1.part/pom.xml"
  rm -rf "${lib:?}/$1"
  mv "$lib/$1.part" "$lib/$1"
}

# Once for a command, before anything is started.
java_prepare() {
  local name missing=() wanted=() product
  find_java || missing+=("$java_missing")
  for name in "$@"; do
    product=${name%[123]}
    downloaded "$product" || wanted+=("$product")
  done
  if [ ${#wanted[@]} -gt 0 ] && ! command -v mvn >/dev/null; then
    missing+=("mvn (on Debian and Ubuntu: apt-get install maven)")
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    lacking "no Docker engine with Compose answers, and the Java servers lack: $(printf '%s; ' "${missing[@]}")"
  fi
  for product in ${wanted[@]+"${wanted[@]}"}; do download "$product"; done
  # Only the copies are needed once all are there.
  if downloaded kafka && downloaded cassandra && downloaded registry; then rm -rf "$lib/.maven"; fi
}

# A template beside this file with its @NAMES@ filled in: TEMPLATE SERVER.
render() {
  local text
  text=$(<"$here/$1")
  text=${text//@DATA@/"$data/$2"}
  text=${text//@HOST@/"$(host_of "$2")"}
  text=${text//@KAFKA_PORT@/"$AGENTVERSE_LOCAL_KAFKA_PORT"}
  text=${text//@CONTROLLER_PORT@/"$((AGENTVERSE_LOCAL_KAFKA_PORT + 1))"}
  text=${text//@CQL_PORT@/"$AGENTVERSE_LOCAL_CQL_PORT"}
  text=${text//@STORAGE_PORT@/"$AGENTVERSE_LOCAL_CQL_STORAGE_PORT"}
  printf '%s\n' "$text" >"$run/$2/${3:-$1}"
}

# Starts a process that outlives this one and holds nothing of it, neither its output nor its lock: NAME COMMAND...
launch() {
  local name=$1
  shift
  rm -f "$run/$name.pid"
  [ ! -e "$run/$name.log" ] || mv -f "$run/$name.log" "$run/$name.log.1"
  # shellcheck disable=SC2016
  (cd "$run/$name" && exec setsid bash -c 'echo $$ >"$0" && exec "$@"' "$run/$name.pid" "$@") \
    </dev/null >"$run/$name.log" 2>&1 9>&- &
  until [ -s "$run/$name.pid" ]; do
    kill -0 $! 2>/dev/null || fail "$name could not be started; $run/$name.log says why"
    sleep 0.05
  done
}

java_start() {
  local name=$1 flags
  mkdir -p "$run/$name" "$data/$name"
  # The settings stand first on the class path, where each server looks for them.
  case $name in
    kafka)
      render kafka.properties kafka server.properties
      render log4j2.xml kafka
      if [ ! -e "$data/kafka/meta.properties" ]; then
        # The id is "agentverse-local": one folder, one cluster.
        "$java" -Xmx256m -cp "$run/kafka:$lib/kafka/*" kafka.tools.StorageTool format --ignore-formatted \
          --cluster-id YWdlbnR2ZXJzZS1sb2NhbA --config "$run/kafka/server.properties" >"$run/kafka.log" 2>&1 ||
          fail "Kafka's data folder could not be made; $run/kafka.log says why"
      fi
      launch kafka "$java" "$(mark_of kafka)" -Xms256m "-Xmx${AGENTVERSE_LOCAL_KAFKA_HEAP_MB}m" -XX:+UseSerialGC \
        -cp "$run/kafka:$lib/kafka/*" kafka.Kafka "$run/kafka/server.properties"
      ;;
    cassandra*)
      render cassandra.yaml.in "$name" cassandra.yaml
      render logback.xml "$name"
      # Alone there is nobody to wait for; in a ring nodes must have heard of each other.
      if [ "$name" = cassandra ]; then
        flags=(-Xms512m -Xmx1g -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=0)
      else
        flags=(-Xms400m -Xmx600m -Dcassandra.ring_delay_ms=2000)
      fi
      launch "$name" "$java" "$(mark_of "$name")" "${flags[@]}" "-Dcassandra.storagedir=$data/$name" \
        "-javaagent:$(echo "$lib"/cassandra/jamm-*.jar)" "@$here/cassandra.jvm" \
        -cp "$run/$name:$lib/cassandra/*" org.apache.cassandra.service.CassandraDaemon
      ;;
    registry)
      QUARKUS_HTTP_HOST=127.0.0.1 QUARKUS_HTTP_PORT=$AGENTVERSE_LOCAL_REGISTRY_PORT launch registry \
        "$java" "$(mark_of registry)" -Xmx300m -XX:+UseSerialGC -jar "$(echo "$lib"/registry/*-runner.jar)"
      ;;
  esac
}

java_signal() {
  local signal=$1 name pid
  shift
  for name in "$@"; do
    pid=$(java_pid "$name") || fail "$name does not run"
    kill "-$signal" "$pid"
    say "$name ($pid): SIG$signal"
  done
}

# All are asked at once, then waited for.
java_stop() {
  local name pid deadline=$((SECONDS + 20))
  for name in "$@"; do
    pid=$(java_pid "$name") || continue
    say "stopping $name ($pid)"
    kill -TERM "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true # a paused one hears it only then
  done
  for name in "$@"; do
    while pid=$(java_pid "$name"); do
      if [ $SECONDS -ge $deadline ]; then
        say "$name ($pid) did not end in 20 s: SIGKILL"
        kill -KILL "$pid" 2>/dev/null || true
      fi
      sleep 0.2
    done
    rm -f "$run/$name.pid"
  done
}

java_alive() { java_pid "$1" >/dev/null; }

# STATE PID MEMORY SECONDS, or `stopped`.
java_facts() {
  local pid stat state=running memory
  if ! pid=$(java_pid "$1") || ! stat=$(cat "/proc/$pid/stat" 2>/dev/null); then
    echo stopped
    return
  fi
  read -ra stat <<<"${stat##*) }"
  [ "${stat[0]}" != T ] || state=paused
  memory=$(sed -nE 's/^VmRSS:[[:space:]]+([0-9]+) kB/\1/p' "/proc/$pid/status" 2>/dev/null)
  echo "$state $pid $((${memory:-0} / 1024))MiB $(($(cut -d. -f1 /proc/uptime) - stat[19] / $(getconf CLK_TCK)))"
}
