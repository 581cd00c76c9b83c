//! Keys that the daemon reads.

use super::ValueType::{
    Address, Bytes, Choice, Count, Duration, Flag, Free, Interval, List, Secret, Text,
};
use super::{ConfigKey, ValueType, key};

/// Positive integer.
const SOME: ValueType = Count {
    min: 1,
    max: 1 << 40,
};
const PORT: ValueType = Count { min: 1, max: 65535 };
const LEVELS: ValueType = Choice(&[
    "ERROR", "WARNING", "WARN", "NOTICE", "INFO", "DEBUG", "TRACE",
]);

pub(super) const SUPPORTED: &[ConfigKey] = &[
    // Identity and listeners.
    key(
        "host_id",
        Text,
        "",
        "Identity of this host in the graph and for clients. Empty: the host name.",
    ),
    key(
        "analyzer.listen",
        Address,
        "127.0.0.1:8082",
        "Address on which the HTTP and WebSocket API is served. Agents send flows as UDP \
         datagrams to the same port.",
    ),
    key(
        "agent.listen",
        Address,
        "127.0.0.1:8081",
        "Address on which an agent serves its API: topology, status, subscribers, and publishers.",
    ),
    key(
        "analyzers",
        List,
        "",
        "Addresses (host:port) of the analyzers. An agent connects to all of them and sends its \
         graph to one. An analyzer replicates its graph to the others.",
    ),
    key(
        "analyzer.cluster",
        Text,
        "",
        "Name of this cluster of analyzers, required by analyzer.peers.",
    ),
    key(
        "analyzer.peers.*.endpoints",
        List,
        "",
        "Addresses (host:port) of the analyzers of another cluster. The analyzer connects to one of \
         them.",
    ),
    key(
        "analyzer.peers.*.publish_filter",
        Text,
        "",
        "Nodes to send to the other cluster: * for all, or key=value[,key=value]. Empty: none.",
    ),
    key(
        "analyzer.peers.*.subscribe_filter",
        Text,
        "",
        "Gremlin expression of the part of the other cluster's graph to receive, * for all. Empty: \
         nothing.",
    ),
    key(
        "analyzer.peers.*.username",
        Text,
        "",
        "User name for the API of the other cluster.",
    ),
    key(
        "analyzer.peers.*.password",
        Secret,
        "",
        "Password for the API of the other cluster.",
    ),
    // Authentication and permissions.
    key(
        "analyzer.auth.api.backend",
        Text,
        "noauth",
        "Authentication of API users: noauth (everyone is admin), basic, keystone, or the name \
         of a backend below auth.",
    ),
    key(
        "analyzer.auth.cluster.backend",
        Text,
        "noauth",
        "Authentication of agents and other analyzers, with the same values as \
         analyzer.auth.api.backend. If that key is set and this one is not, only clients on this \
         machine with the key of analyzer.auth.cluster.key_file are accepted.",
    ),
    key(
        "analyzer.auth.cluster.key_file",
        Text,
        "",
        "File with the key of the agents on this machine, used if passwords protect the API and \
         analyzer.auth.cluster.backend is not set. It is created at the first start, readable by \
         its owner only. Empty: agent.key in the data folder.",
    ),
    key(
        "analyzer.auth.cluster.username",
        Text,
        "",
        "User name with which an analyzer logs in to other analyzers. Empty: the key of \
         analyzer.auth.cluster.key_file is used for those on this machine.",
    ),
    key(
        "analyzer.auth.cluster.password",
        Secret,
        "",
        "Password with which an analyzer logs in to other analyzers.",
    ),
    key(
        "agent.auth.api.backend",
        Text,
        "noauth",
        "Authentication of the users of an agent, with the same values as \
         analyzer.auth.api.backend.",
    ),
    key(
        "agent.auth.cluster.username",
        Text,
        "",
        "User name with which an agent logs in to its analyzers. Empty: the key of \
         analyzer.auth.cluster.key_file is used for those on this machine.",
    ),
    key(
        "agent.auth.cluster.password",
        Secret,
        "",
        "Password with which an agent logs in to its analyzers.",
    ),
    key(
        "auth.*.type",
        Choice(&["noauth", "basic", "keystone"]),
        "",
        "Type of the authentication backend of this name. Empty: the name itself is the type.",
    ),
    key(
        "auth.*.file",
        Text,
        "",
        "Path of an htpasswd file with the users of a basic backend: bcrypt, apr1, or SHA-1 \
         hashes. SIGHUP reloads the file. Set either this key or users.",
    ),
    key(
        "auth.*.users",
        Free,
        "",
        "Users of a basic backend, each as name: password. Set either this key or file.",
    ),
    key(
        "auth.*.role",
        Text,
        "admin",
        "Role of the users to whom rbac.policy gives no role.",
    ),
    key(
        "auth.*.auth_url",
        Text,
        "",
        "URL of a Keystone service, http://host:5000 or https://host:5000. Required for a \
         keystone backend.",
    ),
    key(
        "auth.*.tenant_name",
        Text,
        "admin",
        "Keystone project to which tokens must belong.",
    ),
    key(
        "auth.*.domain_name",
        Text,
        "Default",
        "Keystone domain of users and project. Empty: version 2 of the Keystone API, which has \
         no domains.",
    ),
    key(
        "rbac.policy",
        Free,
        "",
        "Rules and role assignments in addition to the built-in ones, as a list of lines: \"p, \
         subject, object, action, allow|deny\" or \"g, user, role\". A rule that denies an action \
         overrides all rules that allow it.",
    ),
    key(
        "rbac.model.request_definition",
        Free,
        "",
        "Request part of the permission model. Only the value \"sub, obj, act\" is supported.",
    ),
    key(
        "rbac.model.policy_definition",
        Free,
        "",
        "Policy part of the permission model. Only the value \"sub, obj, act, eft\" is \
         supported.",
    ),
    key(
        "rbac.model.role_definition",
        Free,
        "",
        "Role part of the permission model. Only the value \"_, _\" is supported.",
    ),
    key(
        "rbac.model.policy_effect",
        Free,
        "",
        "Effect part of the permission model. Only the value of Skydive is supported: allowed by \
         one rule and denied by none.",
    ),
    key(
        "rbac.model.matchers",
        Free,
        "",
        "Matcher part of the permission model. Only the value of Skydive is supported: subject or \
         role, object, and action are equal.",
    ),
    // TLS.
    key(
        "tls.server_cert",
        Text,
        "",
        "Path of the PEM file with the certificate of the daemon and the intermediate \
         certificates. Empty: no TLS. SIGHUP reloads the file.",
    ),
    key(
        "tls.server_key",
        Text,
        "",
        "Path of the PEM file with the private key of tls.server_cert. SIGHUP reloads the file.",
    ),
    key(
        "tls.ca_cert",
        Text,
        "",
        "Path of the PEM file with the certificate authorities that are trusted for client \
         certificates, for analyzers to which this daemon connects (which then use TLS), and for a \
         Keystone service over https.",
    ),
    key(
        "tls.require_client_cert",
        Flag,
        "false",
        "Whether clients must present a certificate that an authority of tls.ca_cert has signed.",
    ),
    key(
        "tls.client_cert",
        Text,
        "",
        "Path of the PEM file with the certificate that this daemon presents to analyzers; requires \
         tls.client_key. An analyzer that sets it together with tls.ca_cert requires \
         tls.server_cert.",
    ),
    key(
        "tls.client_key",
        Text,
        "",
        "Path of the PEM file with the private key of tls.client_cert.",
    ),
    // Storage.
    key(
        "analyzer.topology.backend",
        Text,
        "local",
        "Store of the topology history and of published nodes and edges: local, memory (no \
         history, nothing survives a restart), or a storage.<name> with one of these drivers. \
         clickhouse, elasticsearch, and orientdb fall back to local with a warning.",
    ),
    key(
        "analyzer.flow.backend",
        Text,
        "local",
        "Store of past flows: local, memory (queries about past flows are rejected), or a \
         storage.<name> with one of these drivers. clickhouse, elasticsearch, and orientdb fall \
         back to local with a warning.",
    ),
    key(
        "analyzer.flow.max_buffer_size",
        SOME,
        "100000",
        "Maximum number of flow records that wait to be stored and sent to subscribers. Further \
         records are dropped and counted.",
    ),
    key(
        "storage.local.path",
        Text,
        "",
        "Folder of the stored resources (the data folder). Empty: /var/lib/skyd as root, else \
         $XDG_DATA_HOME/skyd or ~/.local/share/skyd.",
    ),
    key(
        "storage.local.max_age",
        Interval,
        "24h",
        "Retention of the topology history and of past flows, by the clock of this host.",
    ),
    key(
        "storage.local.max_bytes",
        Bytes,
        "4GiB",
        "Maximum size of the topology history and of past flows on the disk, together; at most a \
         tenth of the file system is used. The oldest files are removed first.",
    ),
    key(
        "storage.local.min_free",
        Bytes,
        "0",
        "Space of the file system that the history leaves free. 0: 5 % of the file system, at most \
         1 GiB.",
    ),
    key(
        "storage.local.memory",
        Bytes,
        "64MiB",
        "Maximum memory for the newest flows before they are moved to a sealed file, and for the \
         newest topology changes. While the disk is slow, up to five and a half times that for \
         flows, and twice for topology changes.",
    ),
    key(
        "storage.local.sync",
        Interval,
        "1s",
        "Maximum time until recorded flows and topology changes survive a power failure. They \
         survive the end of the process within milliseconds while the disk keeps up.",
    ),
    key(
        "storage.*.driver",
        Text,
        "",
        "Driver of the store of this name, for use as analyzer.topology.backend or \
         analyzer.flow.backend. Empty: the name itself is the driver.",
    ),
    // Captures and the observed host.
    key(
        "analyzer.startup.capture_gremlin",
        Text,
        "",
        "Gremlin query of a capture that is created at startup. Empty: none.",
    ),
    key(
        "analyzer.startup.capture_bpf",
        Text,
        "",
        "BPF filter of the startup capture, in the syntax of tcpdump. Empty: all packets.",
    ),
    key(
        "analyzer.startup.capture_type",
        Text,
        "",
        "Capture type of the startup capture, such as afpacket. Empty: selected according to the \
         type of the interface.",
    ),
    key(
        "agent.metadata",
        Free,
        "",
        "Metadata added to the node of this host, as a tree of keys and values.",
    ),
    key(
        "agent.metadata_config",
        Free,
        "",
        "Files whose values the node of this host shows: files is a list of objects with path, type \
         (json, toml, ini, yaml, properties), name (the key is Config.NAME), and selector (the \
         dotted path of the value in the file). Files are read again when they change.",
    ),
    key(
        "agent.topology.probes",
        List,
        "ovsdb",
        "Optional probes to start: blockdev, docker, libvirt, lldp, lxd, ovsdb, podman, runc, socketinfo. The \
         probes hardware, netlink, and netns always run. Other probes of Skydive are accepted, but have no effect. \
         Unless this key or ovs.ovsdb is set, a host without Open vSwitch is not reported as a \
         problem.",
    ),
    key(
        "agent.topology.runc.run_path",
        List,
        "/run/containerd/runc /run/runc /run/runc-ctrs",
        "State folders of runc, which containerd, CRI-O, and Podman use, for the probe runc.",
    ),
    key(
        "agent.topology.socketinfo.host_update",
        Interval,
        "10",
        "Interval at which the probe socketinfo reads the sockets of this host.",
    ),
    key(
        "agent.topology.blockdev.iostat_update",
        Interval,
        "30",
        "Interval at which the probe blockdev reads the block devices and their counters.",
    ),
    key(
        "agent.topology.docker.url",
        Text,
        "unix:///var/run/docker.sock",
        "Address of Docker for the probe docker: unix:PATH or tcp:HOST:PORT.",
    ),
    key(
        "agent.topology.podman.url",
        Text,
        "unix:///run/podman/podman.sock",
        "Address of Podman for the probe podman: unix:PATH or tcp:HOST:PORT.",
    ),
    key(
        "agent.topology.libvirt.url",
        Text,
        "",
        "URL of libvirt for the probe libvirt: DRIVER:///PATH, DRIVER+unix:///PATH?socket=FILE, or \
         DRIVER+tcp://HOST/PATH. Empty: qemu:///system.",
    ),
    key(
        "agent.topology.lxd.url",
        Text,
        "unix:///var/lib/lxd/unix.socket",
        "Address of LXD or Incus for the probe lxd: unix:PATH. The snap of LXD uses \
         /var/snap/lxd/common/lxd/unix.socket, Incus /var/lib/incus/unix.socket.",
    ),
    key(
        "agent.topology.lldp.interfaces",
        List,
        "",
        "Interfaces on which the probe lldp listens. Empty: all Ethernet interfaces of the host.",
    ),
    key(
        "analyzer.topology.probes",
        List,
        "",
        "Optional probes to start in an analyzer: k8s. Other probes of Skydive are accepted, but have no \
         effect.",
    ),
    key(
        "analyzer.topology.k8s.config_file",
        Text,
        "/etc/skydive/kubeconfig",
        "Configuration file in the format of kubectl for the probe k8s. If the file does not exist: the \
         service account of the pod that skyd runs in, the file in $KUBECONFIG, or ~/.kube/config.",
    ),
    key(
        "analyzer.topology.k8s.probes",
        List,
        "",
        "Kinds of Kubernetes objects to show, such as pod, service, or networkpolicy. Empty: all kinds.",
    ),
    key(
        "analyzer.topology.k8s.cluster_name",
        Text,
        "",
        "Name of the Kubernetes cluster. Empty: the name in the configuration file, or cluster.",
    ),
    key(
        "analyzer.topology.fabric",
        List,
        "",
        "Static nodes and links, such as switches that no probe can discover: PARENT -> CHILD (owner and \
         layer 2) or PARENT --> CHILD (layer 2), with attributes in brackets.",
    ),
    key(
        "ovs.ovsdb",
        Text,
        "unix:///var/run/openvswitch/db.sock",
        "Address of the OVSDB server for the probe ovsdb: unix:PATH, tcp:HOST:PORT, HOST:PORT, or \
         ssl:HOST:PORT.",
    ),
    key(
        "ovs.ca",
        Text,
        "",
        "Certificates of the authorities that sign the certificate of the OVSDB server, for ssl.",
    ),
    key(
        "ovs.cert",
        Text,
        "",
        "Certificate of this host for the OVSDB server, for ssl. Empty: none.",
    ),
    key(
        "ovs.key",
        Text,
        "",
        "Private key of this host for the OVSDB server, for ssl. Empty: none.",
    ),
    key(
        "ovs.enable_stats",
        Flag,
        "false",
        "Whether the interfaces of Open vSwitch show the counters of the switch.",
    ),
    key(
        "ovs.oflow.enable",
        Flag,
        "false",
        "Whether the probe ovsdb also shows OpenFlow rules and groups, which it lists with ovs-ofctl.",
    ),
    key(
        "ovs.oflow.openflow_versions",
        List,
        "OpenFlow10 OpenFlow11 OpenFlow12 OpenFlow13 OpenFlow14",
        "Versions of OpenFlow that ovs-ofctl offers to a bridge.",
    ),
    key(
        "ovs.oflow.address",
        Free,
        "",
        "Addresses of bridges for ovs-ofctl, by the name of the bridge. Default: the socket of the \
         bridge in /var/run/openvswitch.",
    ),
    key(
        "agent.topology.netlink.metrics_update",
        Interval,
        "30",
        "Interval at which interface counters in the graph are updated.",
    ),
    key(
        "agent.topology.netns.run_path",
        Text,
        "/var/run/netns",
        "Folder of the named network namespaces that are observed. Empty: none.",
    ),
    key(
        "agent.topology.netns.processes",
        Flag,
        "false",
        "Whether network namespaces of processes are observed, even if they have no name, and the \
         processes of each namespace are shown.",
    ),
    key(
        "agent.flow.queue_bytes",
        Bytes,
        "64MiB",
        "Maximum size of the flow updates of an agent that wait while no analyzer is reachable. \
         Beyond it, the oldest are dropped and counted.",
    ),
    key(
        "agent.capture.max_active",
        SOME,
        "256",
        "Maximum number of active captures on nodes. Each has a packet ring and a flow table. \
         Further captures wait until another one ends.",
    ),
    key(
        "agent.capture.ring_bytes",
        Bytes,
        "8MiB",
        "Memory of the packet ring of one capture. Rings are smaller while many captures are \
         active: a new ring takes at most 1/64 of the unused part of \
         agent.capture.ring_bytes_total.",
    ),
    key(
        "agent.capture.ring_bytes_total",
        Bytes,
        "512MiB",
        "Maximum memory of the packet rings of all captures together. Without free memory, a \
         capture waits for others to end, and its node shows the reason.",
    ),
    key(
        "agent.capture.shards",
        Count { min: 1, max: 64 },
        "1",
        "Number of threads that share the packets of one captured interface by flow, for interfaces \
         with more packets than one processor core can count. Each has a packet ring of \
         agent.capture.ring_bytes and a share of flow.max_entries.",
    ),
    key(
        "agent.capture.stats_update",
        Interval,
        "1",
        "Interval at which capture counters in the graph are updated.",
    ),
    // Flows.
    key(
        "flow.update",
        Interval,
        "60",
        "Interval at which flow tables report active flows.",
    ),
    key(
        "flow.expire",
        Interval,
        "600",
        "Idle time after which a flow ends, so that the next packet begins a new flow. The flow table \
         removes ended flows once per interval of this length, one to two intervals after their last \
         packet.",
    ),
    key(
        "flow.max_entries",
        SOME,
        "500000",
        "Maximum number of flows in one flow table. When the table is full, the least recently \
         used flows are evicted and counted.",
    ),
    key(
        "flow.protocol",
        Choice(&["udp", "websocket"]),
        "udp",
        "Transport by which agents send their flows: udp (datagrams, not encrypted) or \
         websocket.",
    ),
    key(
        "flow.default_layer_key_mode",
        Choice(&["L2", "L3"]),
        "L2",
        "Lowest layer that distinguishes flows, for captures that do not specify one.",
    ),
    key(
        "flow.recorded",
        Flag,
        "false",
        "Whether captures and uploads reproduce the values of Skydive exactly, including its \
         known defects. A capture can override this setting with its option Recorded.",
    ),
    key(
        "flow.key.ignore",
        List,
        "",
        "Parts of the flow key that do not distinguish flows: vlan, mpls, interface. Useful for \
         networks in which the two directions of a flow have different tags or pass through \
         different interfaces. A capture can override this setting with its option KeyIgnore.",
    ),
    key(
        "flow.application_ports.tcp",
        Free,
        "",
        "Application names by TCP port, as port: NAME, in addition to the built-in table.",
    ),
    key(
        "flow.application_ports.udp",
        Free,
        "",
        "Application names by UDP port, as port: NAME, in addition to the built-in table.",
    ),
    key(
        "flow.application_timeout.arp",
        Duration,
        "10",
        "Idle time after which an ARP flow ends, at the next flow.update. 0: same as flow.expire.",
    ),
    key(
        "flow.application_timeout.dns",
        Duration,
        "10",
        "Idle time after which a DNS flow ends, at the next flow.update. 0: same as flow.expire.",
    ),
    // WebSocket.
    key(
        "http.ws.ping_delay",
        Interval,
        "2",
        "Interval at which pings are sent to WebSocket clients.",
    ),
    key(
        "http.ws.pong_timeout",
        Interval,
        "5",
        "Time after a ping within which a WebSocket client must send any frame; otherwise, the \
         client is disconnected.",
    ),
    key(
        "http.ws.queue_size",
        SOME,
        "100000",
        "Maximum number of messages in the queue of one WebSocket client. A client whose queue is \
         full and that has stopped reading is disconnected and counted.",
    ),
    // Requests to analyzers.
    key(
        "http.cookie",
        Free,
        "",
        "Cookies, each as name: value, that the daemon adds to its connections to analyzers, and \
         skyd client to its requests, for example for a proxy that requires a session.",
    ),
    // Web pages of other servers.
    key(
        "http.cors.origins",
        List,
        "",
        "Origins of web pages, such as https://ui.example:3000, that may use the API in addition \
         to the origin of the server itself. \"*\": all origins and any host name, as in Skydive. \
         Empty: no others; if passwords protect the API, all origins.",
    ),
    key(
        "http.hosts",
        List,
        "",
        "Host names with which clients may address the server if no password protects the API, in \
         addition to IP addresses, localhost, names without a dot, and the names of the machine. \
         \"*\": all names.",
    ),
    // Alerts and workflows.
    key(
        "analyzer.alert.scripts",
        Flag,
        "true",
        "Whether the action of an alert may be a program on this machine (file:///path), which runs as \
         the user of skyd. false: such alerts are rejected with status 400.",
    ),
    key(
        "workflow.max_time",
        Interval,
        "5m",
        "Maximum duration of a workflow call. A longer call ends with an error.",
    ),
    key(
        "workflow.max_memory",
        Bytes,
        "64MiB",
        "Maximum memory of one running workflow, and of the JavaScript of one alert. A script that \
         needs more ends with an error.",
    ),
    key(
        "workflow.max_running",
        SOME,
        "16",
        "Maximum number of workflows that run concurrently. Further calls wait; while 64 calls wait, \
         further calls are rejected with status 503.",
    ),
    key(
        "workflow.can_write",
        Flag,
        "true",
        "Whether workflows and the JavaScript of alerts may create, change, and delete resources. \
         CheckConnectivity and FlowValidation require this, because they create captures.",
    ),
    // Limits of the HTTP and WebSocket API.
    key(
        "http.limits.captures",
        SOME,
        "1000",
        "Maximum number of stored capture resources. Further resources are rejected with status \
         403.",
    ),
    key(
        "http.limits.injectpackets",
        SOME,
        "1000",
        "Maximum number of stored packet injection resources. Further resources are rejected with \
         status 403.",
    ),
    key(
        "http.limits.alerts",
        SOME,
        "1000",
        "Maximum number of stored alert resources. Further resources are rejected with status 403.",
    ),
    key(
        "http.limits.workflows",
        SOME,
        "1000",
        "Maximum number of stored workflow resources. Further resources are rejected with status \
         403.",
    ),
    key(
        "http.limits.noderules",
        SOME,
        "10000",
        "Maximum number of stored node rule resources. Further resources are rejected with status \
         403.",
    ),
    key(
        "http.limits.edgerules",
        SOME,
        "10000",
        "Maximum number of stored edge rule resources. Further resources are rejected with status \
         403.",
    ),
    key(
        "http.limits.resource_bytes",
        Bytes,
        "64MiB",
        "Maximum total size of all stored resources. Further resources are rejected with status \
         403.",
    ),
    key(
        "http.limits.nodes",
        SOME,
        "1000000",
        "Number of nodes in the graph up to which clients, publishers, and agents may add nodes. \
         Further nodes are rejected with status 403, or dropped and counted.",
    ),
    key(
        "http.limits.edges",
        SOME,
        "4000000",
        "Number of edges in the graph up to which clients, publishers, and agents may add edges. \
         Further edges are rejected with status 403, or dropped and counted.",
    ),
    key(
        "http.limits.connections",
        SOME,
        "10000",
        "Maximum number of open client connections. At the limit, the connection that has been \
         idle longest is closed in favor of a new one; if none is idle, the new connection is \
         rejected with status 503.",
    ),
    key(
        "http.limits.header_bytes",
        Bytes,
        "64KiB",
        "Maximum size of the header of a request. Requests with larger headers are rejected.",
    ),
    key(
        "http.limits.header_timeout",
        Interval,
        "30",
        "Maximum time for a TLS handshake and for the header of a request to arrive. Slower clients \
         are disconnected.",
    ),
    key(
        "http.limits.body_bytes",
        Bytes,
        "16MiB",
        "Maximum size of the body of a request, except uploads. Requests with larger bodies are \
         rejected with status 413.",
    ),
    key(
        "http.limits.body_timeout",
        Interval,
        "60",
        "Maximum time for the body of a request to arrive; slower requests are rejected with status \
         408. An upload has one additional second for each 8 KiB.",
    ),
    key(
        "http.limits.write_timeout",
        Interval,
        "10",
        "Time after which a client that accepts no data is disconnected.",
    ),
    key(
        "http.limits.transfer_rate",
        Bytes,
        "1KiB",
        "Minimum average rate, in bytes per second, at which a request body must arrive after its \
         first 10 seconds, and at which a client must accept data. Slower clients are \
         disconnected. 0: no minimum.",
    ),
    key(
        "http.limits.memory",
        Bytes,
        "0",
        "Maximum memory used on behalf of clients: bodies, messages, uploads, running queries, \
         responses, filters, live queries, queues, and patches. Requests that exceed the limit \
         are rejected with status 503, WebSocket messages with close code 1013; /metrics shows \
         the use. 0: a quarter of the memory of the machine, at most 2 GiB.",
    ),
    key(
        "http.limits.uploads",
        SOME,
        "4",
        "Maximum number of concurrent uploads of capture files. Further uploads are rejected with \
         status 503.",
    ),
    key(
        "http.limits.upload_bytes",
        Bytes,
        "16GiB",
        "Maximum size of an uploaded capture file. Larger files are rejected with status 413.",
    ),
    key(
        "http.limits.session_idle",
        Interval,
        "168h",
        "Time without use after which the token of a login expires.",
    ),
    key(
        "http.limits.queries",
        SOME,
        "64",
        "Maximum number of queries that run concurrently. Further queries wait for a slot, at most \
         http.limits.query_timeout.",
    ),
    key(
        "http.limits.query_timeout",
        Interval,
        "60",
        "Maximum time for which a query may wait for a slot, and maximum time for which it may run. A \
         query that exceeds one of them fails with status 503.",
    ),
    key(
        "http.limits.live_queries",
        SOME,
        "16",
        "Maximum number of live queries of one WebSocket connection. Further live queries are rejected \
         with status 429.",
    ),
    key(
        "http.limits.ws_queue_bytes",
        Bytes,
        "64MiB",
        "Maximum total size of the messages in the queue of one WebSocket client. A client whose queue \
         is full and that has stopped reading is disconnected and counted.",
    ),
    key(
        "http.limits.ws_message_bytes",
        Bytes,
        "256MiB",
        "Maximum size of a message that a WebSocket client sends. A larger message ends the \
         connection with close code 1009.",
    ),
    // The web page.
    key(
        "ui.enabled",
        Flag,
        "true",
        "Whether the web page is served.",
    ),
    key(
        "ui.path",
        Text,
        "",
        "Folder with another web interface, such as Skydive's UI v2, which is served unmodified at \
         /ui_v2/. Empty: none.",
    ),
    key(
        "ui",
        Free,
        "",
        "Other settings of the web page, which reads them over the API. theme (dark or light): colors \
         for users who choose none. topology.favorites: names of Gremlin queries. \
         topology.default_filter and topology.default_highlight: names of favorites that a new page \
         limits the graph to, or marks in it. bpf.favorites: names of packet filters. \
         bandwidth_threshold (absolute or relative), bandwidth_absolute_active, \
         _warning and _alert (kilobits per second), bandwidth_relative_active, _warning and _alert \
         (fractions of the interface speed): rates above which links are drawn wider.",
    ),
    // Graph.
    key(
        "graph.max_bytes",
        Bytes,
        "0",
        "Approximate maximum total size of the nodes and edges that clients, publishers, and \
         agents write. At the limit, REST requests are rejected with status 403, and WebSocket \
         messages are dropped and counted. 0: a quarter of the memory of the machine, at most 2 \
         GiB.",
    ),
    key(
        "graph.max_element_bytes",
        Bytes,
        "8MiB",
        "Approximate maximum size of one node or edge that a client, publisher, or agent writes. \
         Larger elements are rejected.",
    ),
    // Live queries.
    key(
        "live.interval",
        Interval,
        "100ms",
        "Minimum interval between two updates of a live query.",
    ),
    key(
        "live.timed_interval",
        Interval,
        "5",
        "Interval at which live queries about flows or the past are run again.",
    ),
    key(
        "live.max_time",
        Interval,
        "2",
        "Maximum time of one run of a live query. A query that exceeds the time is ended with an \
         error.",
    ),
    key(
        "live.max_queries",
        SOME,
        "1000",
        "Maximum number of live queries of all clients together. Further live queries are rejected with \
         status 503.",
    ),
    key(
        "live.max_items",
        SOME,
        "100000",
        "Maximum number of items in the answer of one live query. A query that exceeds it is ended with \
         an error.",
    ),
    key(
        "live.max_bytes",
        Bytes,
        "256MiB",
        "Approximate maximum memory for the answers of all live queries together, excluding elements \
         shared with the graph. Beyond it, the queries with the largest answers are ended with an \
         error.",
    ),
    // SPP: recording to capture files.
    key(
        "spp.listen",
        Address,
        "",
        "Address on which the SPP API is served without authentication. Empty: 127.0.0.1:7777 if \
         another spp key is set and no password protects the API; otherwise, the SPP API is \
         available only under /v1 of analyzer.listen.",
    ),
    key(
        "agent.flow.pcapsocket.bind_address",
        Text,
        "127.0.0.1",
        "IP address on which captures of the type pcapsocket receive capture files.",
    ),
    key(
        "agent.flow.pcapsocket.min_port",
        PORT,
        "8100",
        "First TCP port of captures of the type pcapsocket; each capture uses the first free port.",
    ),
    key(
        "agent.flow.pcapsocket.max_port",
        PORT,
        "8132",
        "Last TCP port of captures of the type pcapsocket.",
    ),
    key(
        "agent.flow.sflow.bind_address",
        Text,
        "127.0.0.1",
        "IP address to which bridges of Open vSwitch send sFlow for captures of the type ovssflow.",
    ),
    key(
        "agent.flow.sflow.port_min",
        PORT,
        "6345",
        "First UDP port of captures of the type ovssflow; each capture uses the first free port.",
    ),
    key(
        "agent.flow.sflow.port_max",
        PORT,
        "6355",
        "Last UDP port of captures of the type ovssflow.",
    ),
    key(
        "agent.flow.netflow.bind_address",
        Text,
        "127.0.0.1",
        "IP address to which bridges of Open vSwitch send NetFlow for captures of the type \
         ovsnetflow.",
    ),
    key(
        "agent.flow.netflow.port_min",
        PORT,
        "6365",
        "First UDP port of captures of the type ovsnetflow; each capture uses the first free port.",
    ),
    key(
        "agent.flow.netflow.port_max",
        PORT,
        "6375",
        "Last UDP port of captures of the type ovsnetflow.",
    ),
    key(
        "pipes.in",
        Free,
        "",
        "Sockets that receive NetFlow 5, 7, 9, IPFIX, and sFlow 5: an address such as 0.0.0.0:2055, or \
         a list of {listen: ADDRESS} with the optional keys allow (networks; default: private and \
         loopback addresses), receive_buffer (8MiB), scale (false), sampling: {default: RATE, \
         exporters: {ADDRESS: RATE}}, and names: {exporters: {ADDRESS: NAME}, interfaces: {ADDRESS: \
         {INDEX: NAME}}}. Empty: nothing is received.",
    ),
    key(
        "pipes.node_timeout",
        Duration,
        "24h",
        "Time without exports after which the nodes of an exporter are deleted.",
    ),
    key(
        "spp.ports",
        Free,
        "",
        "Interfaces by SPP port name: {phy: [eth0, eth1], ring: {\"0\": br0}}. \
         Without phy: the network cards of this machine.",
    ),
    key(
        "spp.pcaps",
        Free,
        "",
        "Recording processes that are created at startup, as a list of {client_id, port} with the \
         optional keys cores, out_dir, fsize, compress, outgoing, nanoseconds, sync, ring_bytes, \
         netns, flows.",
    ),
    key(
        "spp.launch.root",
        Text,
        "",
        "Folder below which recording processes launched by clients may write. Empty: clients \
         cannot launch processes.",
    ),
    key(
        "spp.secondaries.listen",
        Address,
        "",
        "Address to which real spp_pcap processes connect. Empty: none.",
    ),
    // Log.
    key(
        "logging.level",
        LEVELS,
        "INFO",
        "Level of the log on standard error. The environment variable SKYD_LOG overrides it with \
         finer-grained directives, such as info,skylib::engine=debug.",
    ),
];
