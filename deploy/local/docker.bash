# shellcheck shell=bash disable=SC2154
# The Docker way: containers of compose.yaml beside this file. Read by `servers`, whose variables it uses.

dc() {
  docker compose --project-name "agentverse-$(printf %s "$dir" | cksum | cut -d' ' -f1)" --file "$here/compose.yaml" \
    "$@" 9>&-
}

docker_answers() {
  timeout 5 docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1
}

# Whether the images are here or could be had.
docker_prepare() {
  local image
  for image in $(dc config --images "$@"); do
    docker image inspect "$image" >/dev/null 2>&1 || dc pull --quiet "$@" >&2 || return 1
  done
}

# The state by Docker's name, the process id and the start of a container; nothing where there is none.
docker_state() {
  local id
  id=$(dc ps --all --quiet "$1" 2>/dev/null | head -n 1)
  [ -z "$id" ] || docker inspect --format "{{.State.Status}} {{.State.Pid}} {{.State.StartedAt}} $id" "$id"
}

docker_alive() { [[ $(docker_state "$1") =~ ^(running|paused)" " ]]; }

# As java_facts.
docker_facts() {
  local state pid since id
  read -r state pid since id <<<"$(docker_state "$1")"
  case $state in running | paused) ;; *) echo stopped && return ;; esac
  echo "$state $pid $(docker stats --no-stream --format '{{.MemUsage}}' "$id" | cut -d' ' -f1)" \
    "$(($(date +%s) - $(date -d "$since" +%s)))"
}
