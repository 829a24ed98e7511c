#!/usr/bin/env bash
# Builds the image and holds it to what it promises: nothing in it but the program; it runs as a number that is not root, on a
# read-only root, as process 1; it finds names; it speaks to an environment, answers its HEALTHCHECK, and stops on SIGTERM.
# Usage: tests/package/container.sh BINARY SIMULATOR     the static one, and one that has `simulate`;
# as root, with buildah, curl, and util-linux's unshare
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

binary=$1
simulator=$2
work=$(mktemp -d)
# Other users look into it.
chmod 755 "$work"
container=
started=()

clean_up() {
    local pid
    # The last one first: an agent that is process 1 of a namespace before the one that waits for it.
    for ((pid = ${#started[@]} - 1; pid >= 0; pid--)); do kill -KILL "${started[pid]}" 2>/dev/null || true; done
    { wait; } 2>/dev/null
    if [[ -n $container ]]; then buildah rm "$container" >/dev/null || true; fi
    rm -rf "$work"
}
trap clean_up EXIT

fail() {
    echo "container: $*" >&2
    cat "$work"/*.log >&2 2>/dev/null || true
    exit 1
}

# Waits until a command says yes, 20 s at most.
until_true() {
    local what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [[ $tries -lt 200 ]] || fail "never seen: $what"
        sleep 0.1
    done
}

container/build.sh "$binary" >"$work/build.log" 2>&1 || fail "the image was not built"
container=$(buildah from --pull=never --add-host agent.test:127.0.0.1 rallyhere-agent:latest)
root=$(buildah mount "$container")

# What is in it.
files=$(cd "$root" && find . -type f | sort | tr '\n' ' ')
[[ $files == "./etc/group ./etc/nsswitch.conf ./etc/passwd ./usr/bin/rallyhere-agent " ]] || fail "its files are $files"
said=$(buildah inspect --type image --format '{{.Docker.Config.User}} {{.Docker.Config.StopSignal}} {{.Docker.Config.Healthcheck.Test}}' \
    rallyhere-agent:latest)
[[ $said == "65532:65532 SIGTERM [CMD /usr/bin/rallyhere-agent status]" ]] || fail "it says of itself: $said"
echo "image: $(stat -c %s "$root/usr/bin/rallyhere-agent") bytes of program, and $files"

# What only development needs is not in it, and says so.
said=$("$binary" demo 2>&1) && fail "there is a demo in it"
[[ $said == *"no simulated environment"* ]] || fail "it says of the demo: $said"

# An environment, outside.
"$simulator" simulate --listen 127.0.0.1:0 --client agent:s3cret >"$work/simulator.log" 2>&1 &
started+=($!)
until_true "the simulator" grep -q 'http://' "$work/simulator.log"
url=$(sed -n 's|.* on \(http://[^ ]*\) .*|\1|p' "$work/simulator.log")
ledger() { curl -sf "$url/_sim/ledger"; }
port=${url##*:}

# As a builder runs it: another user, the image's own directories, names from /etc/hosts.
inside() { buildah run --isolation chroot "$@"; }
inside "$container" -- /usr/bin/rallyhere-agent --version
settings=(--env "RALLYHERE_AGENT_ENVIRONMENT__URL=http://localhost:$port" --env RALLYHERE_AGENT_AUTH__CLIENT_ID=agent
    --env RALLYHERE_AGENT_AUTH__CLIENT_SECRET=s3cret --env RALLYHERE_AGENT_INSTANCE__SESSION_ID=demo
    --env RALLYHERE_AGENT_LOCAL_API__LISTEN=127.0.0.1:0 --env RALLYHERE_AGENT_ADMIN__LISTEN=)
inside "${settings[@]}" "$container" -- /usr/bin/rallyhere-agent run >"$work/first.log" 2>&1 &
first=$!
started+=("$first")
until_true "an instance through the name localhost" grep -q 'to=loading' "$work/first.log"
listen=$(sed -n 's/.*listen=127.0.0.1:\([0-9]*\).*/\1/p' "$work/first.log")
# The connection is made by a name that only /etc/hosts knows; then the agent refuses the name, as it should.
said=$(inside "$container" -- /usr/bin/rallyhere-agent status --url "http://agent.test:$listen" 2>&1) && fail "a strange Host was served"
[[ $said == *"the Host header must be"* ]] || fail "agent.test was not found: $said"
user=$(ps -o uid= -C rallyhere-agent | tr -d ' ' | sort -u | tr '\n' ' ')
[[ " $user" == *" 65532 "* ]] || fail "it runs as $user"
inside "$container" -- /usr/bin/rallyhere-agent drain >/dev/null 2>&1 || fail "its socket was not found"
wait "$first" || fail "the first agent ended with $?"
echo "run as 65532: localhost and a name of /etc/hosts found, an instance registered, drained through the socket"

# As a kubelet runs it: the root read-only, volumes that belong to root and are open to the group, a secret in a file, process 1.
mkdir "$work/socket" "$work/state" "$work/secret"
chgrp 65532 "$work"/{socket,state,secret}
chmod 2777 "$work/socket" "$work/state"
echo s3cret >"$work/secret/client-secret"
chgrp 65532 "$work/secret/client-secret"
chmod 440 "$work/secret/client-secret"
cat >"$work/start" <<EOF
set -eu
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t tmpfs -o mode=755 tmpfs "$root/etc/rallyhere-agent"
mkdir "$root/etc/rallyhere-agent/secret"
mount --bind "$work/secret" "$root/etc/rallyhere-agent/secret"
mount --bind "$work/socket" "$root/run/rallyhere-agent"
mount --bind "$work/state" "$root/var/lib"
# The devices that every runtime gives.
mkdir -p "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
    touch "$root/dev/\$device"
    mount --bind "/dev/\$device" "$root/dev/\$device"
done
mount -o remount,bind,ro "$root"
if touch "$root/here" 2>/dev/null; then echo "the root is not read-only" >&2; exit 1; fi
export RUNTIME_DIRECTORY=/run/rallyhere-agent STATE_DIRECTORY=/var/lib/rallyhere-agent
export RALLYHERE_AGENT_ENVIRONMENT__URL=http://127.0.0.1:$port RALLYHERE_AGENT_AUTH__CLIENT_ID=agent
export RALLYHERE_AGENT_AUTH__CLIENT_SECRET_FILE=/etc/rallyhere-agent/secret/client-secret
export RALLYHERE_AGENT_INSTANCE__SESSION_ID=demo RALLYHERE_AGENT_ADMIN__LISTEN=127.0.0.1:0
exec setpriv --no-new-privs unshare --pid --fork --kill-child=SIGKILL --root="$root" --setgid 65532 --setuid 65532 \
    /usr/bin/rallyhere-agent run
EOF
unshare --mount sh "$work/start" >"$work/second.log" 2>&1 &
outer=$!
started+=("$outer")
until_true "an instance from a read-only root" grep -q 'to=loading' "$work/second.log"
agent=$(pgrep -P "$outer")
started+=("$agent")
admin=$(sed -n 's/.* admin=127.0.0.1:\([0-9]*\).*/\1/p' "$work/second.log")
curl -sf "http://127.0.0.1:$admin/livez" >/dev/null || fail "/livez"
until_true "/readyz" curl -sf "http://127.0.0.1:$admin/readyz"
[[ $(stat -c '%u %a' "$work/state/rallyhere-agent") =~ ^65532\ 2?700$ ]] || fail "the state: $(stat -c '%u %a' "$work/state/rallyhere-agent")"
[[ $(stat -c '%u:%g %a' "$work/socket/agent.sock") == "65532:65532 660" ]] || fail "the socket: $(ls -ln "$work/socket")"
# What HEALTHCHECK says, as another user of the group would ask.
setpriv --reuid 4711 --regid 4711 --groups 65532 "$binary" status --socket "$work/socket/agent.sock" >/dev/null || fail "status"
[[ $(awk '/^NSpid:/ { print $NF }' "/proc/$agent/status") == 1 ]] || fail "it is not process 1"
[[ $(awk '/^CapEff:/ { print $2 }' "/proc/$agent/status") == 0000000000000000 ]] || fail "it has capabilities"
kill -TERM "$agent"
wait "$outer" || fail "SIGTERM ended it with $?"
[[ $(ledger | grep -o '"join_status":"closed"' | wc -l) -ge 2 ]] || fail "the environment was not told that the instances are closed"
[[ $(ledger) == *'"rejections":[]'* ]] || fail "the environment refused something"
echo "run on a read-only root, as process 1, without capabilities: ready, asked by another user of the group, stopped in order"
