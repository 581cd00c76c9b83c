#!/usr/bin/env bash
# Asks a running daemon the questions that operators ask every day: fifteen questions and seven wishes, each
# with one line. Creates a network of namespaces, generates traffic on it, and removes it afterwards; needs
# root. Usage: examples/questions.sh [SKYD]   (default: the debug build)
#
# The script fails if an answer lacks what it must contain, so that it is also a test.
set -u
script=$(realpath "$0")
cd "$(dirname "$script")/.."
skyd=${1:-$(scripts/target-dir)/debug/skyd}
[ "$(id -u)" = 0 ] || { echo "questions: SKIPPED, needs root for network namespaces"; exit 0; }
[ -x "$skyd" ] || { echo "questions: $skyd does not exist: run cargo build -p skyd"; exit 1; }
command -v ip >/dev/null && command -v ping >/dev/null || { echo "questions: SKIPPED, needs ip and ping"; exit 0; }

# All interfaces are in a namespace of their own, so that the network of the machine is not touched.
if [ "${IN_NAMESPACE:-}" != 1 ]; then
    IN_NAMESPACE=1 exec unshare --net --mount "$script" "$(realpath "$skyd")"
fi
mount --make-rprivate / && mount -t tmpfs tmpfs /run
mkdir -p /run/netns
data=$(mktemp -d)
pid=
# Ends the daemon and the servers; the namespaces end with this one.
finish() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null
    [ -z "${server:-}" ] || kill "$server" 2>/dev/null
    rm -rf "$data"
}
trap finish EXIT

network() {
    ip link set lo up
    ip link add br0 type bridge && ip address add 10.0.0.1/24 dev br0 && ip link set br0 up
    for name in web db; do
        ip netns add "$name"
        ip link add "v-$name" type veth peer name eth0 netns "$name" && ip link set "v-$name" master br0 up
        ip -n "$name" link set lo up && ip -n "$name" link set eth0 up
    done
    ip -n web address add 10.0.0.10/24 dev eth0 && ip -n db address add 10.0.0.11/24 dev eth0
    ip -n web address add 2001:db8::10/64 dev eth0 nodad
    ip -n web route add default via 10.0.0.1
    ip netns add wan
    ip link add v-wan type veth peer name eth0 netns wan && ip address add 192.0.2.2/24 dev v-wan
    ip link set v-wan mtu 1400 up
    ip -n wan link set lo up && ip -n wan link set eth0 mtu 1400 up && ip -n wan address add 192.0.2.1/24 dev eth0
    ip -n wan route add 10.0.0.0/24 via 192.0.2.2
    # Without forwarding, web cannot reach wan, but the questions can be asked.
    echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_forward || true
}
network || { echo "questions: SKIPPED, this kernel cannot create the network"; exit 0; }

export SKYD_ANALYZER_LISTEN=127.0.0.1:18082
"$skyd" allinone --set "storage.local.path=$data" --set flow.update=1s 2>"$data/log" &
pid=$!
query() { "$skyd" client --analyzer 127.0.0.1:18082 query "$1" --format json 2>"$data/notes"; }
for _ in $(seq 300); do
    [ "$(query "G.V().Has('IPV4', '192.0.2.1').Count()")" = 1 ] && break
    sleep 0.1
done
"$skyd" client --analyzer 127.0.0.1:18082 capture create \
    --gremlin "G.V().Has('Type', 'veth', 'Name', Regex('v-.*'))" >/dev/null || exit 1
for _ in $(seq 300); do
    [ "$(query "G.V().Has('Captures.State', 'active').Count()")" = 3 ] && break
    sleep 0.1
done

# Traffic: a connection from web through the router to wan, and pings from web to db.
if command -v python3 >/dev/null; then
    ip netns exec wan python3 -c '
import socket, sys
listener = socket.create_server(("192.0.2.1", 8080))
open(sys.argv[1], "w").close()
connection, _ = listener.accept()
received = 0
while received < 20000:
    received += len(connection.recv(65536))
connection.sendall(b"x" * 60000)
connection.close()' "$data/listening" &
    server=$!
    for _ in $(seq 100); do
        [ -e "$data/listening" ] && break
        sleep 0.1
    done
    ip netns exec web python3 -c '
import socket
connection = socket.create_connection(("192.0.2.1", 8080), timeout=10)
connection.sendall(b"q" * 20000)
while connection.recv(65536): pass'
fi
ip netns exec web ping -q -c 3 -i 0.2 10.0.0.11 >/dev/null
for _ in $(seq 100); do
    [ "$(query "G.At(NOW, 600).Flows().Has('Network', '10.0.0.11').Count()")" = 2 ] && break
    sleep 0.1
done

asked=0 failed=0
# Asks a question; the answer, or the notes printed with it, must match a pattern.
ask() {
    local question=$1 line=$2 pattern=$3 answer
    asked=$((asked + 1))
    answer=$(query "$line" | tr -d '\n\t')
    if [[ "$answer $(cat "$data/notes")" =~ $pattern ]]; then
        printf '%2d. %s\n    %s\n    %.300s\n' "$asked" "$question" "$line" "$answer"
    else
        failed=$((failed + 1))
        printf '%2d. WRONG: %s\n    %s\n    %s\n    expected: %s\n' "$asked" "$question" "$line" "$answer" "$pattern"
        cat "$data/notes"
    fi
}

ask "Which interface has 10.0.0.10?" "G.V().Has('IPV4', '10.0.0.10').Values('Name').Qualified()" 'web/eth0'
ask "What is connected to br0?" "G.V().Has('Name', 'br0').OutE('RelationType', 'layer2').OutV().Values('Name')" 'v-web'
ask "Who talks to 192.0.2.1?" "G.Flows().Has('Network', '192.0.2.1').GroupBy('Network.A').Sum('Bytes')" '10.0.0.10'
ask "Who are the top talkers?" "G.At(NOW, 600).Flows().GroupBy('Network').Sum('Bytes').Limit(5)" 'L3TrackingID'
ip -n db link set eth0 down; sleep 1.5
ask "What is down?" "G.V().Has('State', Within('DOWN', 'LOWER-LAYER-DOWN'), 'Type', 'veth').Values('Name').Qualified()" 'db/eth0'
ask "Which interfaces have dropped packets?" "G.V().Has('Metric.RxDropped', Gte(0)).Sort(DESC, 'Metric.RxDropped').Limit(3).ValueMap('Name', 'Metric.RxDropped').Qualified()" 'Name|null'
ask "Which way does a packet take from web to 192.0.2.1?" "G.V().Has('Type', 'netns', 'Name', 'web').PathTo('192.0.2.1')" '"Reached": ?true'
ask "What is the smallest MTU on this way?" "G.V().Has('Type', 'netns', 'Name', 'web').PathTo('192.0.2.1').Values('MTU')" '1400'
ask "Are all MTUs equal?" "G.V().Has('Type', 'veth').Dedup('MTU').Values('MTU')" '1500.*1400|1400.*1500'
ask "Which DNS names were asked for?" "G.Flows().Has('Application', 'DNS').GroupBy('DNS.Questions.Name').Count()" 'null|DNS'
ask "What was the state a second ago?" "G.At('1s ago').V().Has('IPV4', '10.0.0.10').Values('State')" 'UP'
ask "Is web/eth0 up, with which MTU and address?" "G.V().Has('IPV4', '10.0.0.10').ValueMap('Name', 'State', 'MTU', 'IPV4').Qualified()" '"Namespace": ?"web"'
ask "Which interface has this MAC address?" "G.V().Has('MAC', '$(ip -n web -br link show eth0 | tr -s ' ' | cut -d' ' -f3)').Values('Name').Qualified()" 'web/eth0'
ask "What is the next hop from web to 203.0.113.5?" "G.V().Has('Type', 'netns', 'Name', 'web').NextHop('203.0.113.5')" '10.0.0.1'
ask "Where does web's packet to db end?" "G.V().Has('Type', 'netns', 'Name', 'web').PathTo('10.0.0.11').Values('Reason')" 'DOWN|null|no '
ask "Wish: IPv6 addresses in a network" "G.V().Has('IPV6', Ipv6Range('2001:db8::/32')).Values('Name').Qualified()" 'web/eth0'
ask "Wish: traffic between namespaces" "G.At(NOW, 600).Flows().GroupBy('Namespace.A', 'Namespace.B').Sum('Bytes')" '"wan"'
ask "Wish: traffic between networks" "G.At(NOW, 600).Flows().GroupBy('Network.A/24', 'Network.B/24').Sum('Bytes')" '10.0.0.0/24'
ask "Wish: rates" "G.Flows().GroupBy('Network.A').Rate('Bytes')" 'Bytes/s|null'
ask "Wish: by application and port" "G.At(NOW, 600).Flows().GroupBy('Application', 'Port').Sum('Bytes')" 'Port'
ask "Wish: a misspelled key is reported" "G.V().Has('Nme', 'eth0')" 'did you mean .Name'
ask "Wish: each connection once, although two interfaces saw it" "G.At(NOW, 600).Flows().Has('Transport', 8080).GroupBy('Network.A').Count()" '"Connections": ?1,.*"Flows": ?2|null'
echo "$asked questions, $failed wrong answers"
[ "$failed" = 0 ]
