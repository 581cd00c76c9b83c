//! Tests of the configuration.

use super::*;

fn load(
    text: &str,
    environment: &[(&str, &str)],
    settings: &[&str],
) -> Result<Config, ConfigError> {
    let mut loader = Loader::new();
    loader.add_tree("skydive.yml", &mut Vec::new(), yaml(text).unwrap());
    for (name, text) in environment {
        loader.add_variable(name, text);
    }
    for setting in settings {
        let (name, text) = setting.split_once('=').unwrap();
        loader.add_text("--set", name, text);
    }
    loader.apply_renamed();
    loader.into_result()
}

fn list(config: &Config, key: &str) -> Vec<String> {
    value_type::list(config.tree(key).unwrap()).unwrap()
}

fn read(yaml: &str) -> Config {
    load(yaml, &[], &[]).unwrap()
}

#[test]
fn typed_keys_inside_free_trees_are_found() {
    let config = read(
        "agent: {topology: {netlink: {metrics_update: 5}, vpp: {path: [/a]}}, metadata: {A: {b: 1}}}\n\
         storage: {local: {max_age: 1h}, mine: {driver: elasticsearch, hosts: [h]}}\n",
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(
        config.duration("agent.topology.netlink.metrics_update"),
        Duration::from_secs(5)
    );
    assert_eq!(
        config.tree("agent.topology").unwrap()["vpp"]["path"][0],
        "/a"
    );
    assert_eq!(config.tree("agent.metadata").unwrap()["A"]["b"], 1);
    assert_eq!(
        config.duration("storage.local.max_age"),
        Duration::from_secs(3600)
    );
    assert_eq!(config.text("storage.mine.driver"), "elasticsearch");
    assert_eq!(config.tree("storage.mine").unwrap()["hosts"][0], "h");
    assert!(
        refused("agent: {topology: {netlink: {metrics_update: 0}}}").contains("metrics_update")
    );
}

fn refused(yaml: &str) -> String {
    load(yaml, &[], &[]).unwrap_err().to_string()
}

#[test]
fn nothing_written_means_the_defaults() {
    let config = read("");
    assert_eq!(
        config.address("analyzer.listen").unwrap().to_string(),
        "127.0.0.1:8082"
    );
    assert_eq!(
        config.duration("http.ws.ping_delay"),
        Duration::from_secs(2)
    );
    assert_eq!(config.count("http.ws.queue_size"), 100_000);
    assert_eq!(config.bytes("http.limits.ws_queue_bytes"), 64 << 20);
    assert_eq!(config.address("spp.listen"), None);
    assert_eq!(config.text("storage.local.path"), "");
    assert!(config.warnings.is_empty());
}

#[test]
fn every_default_is_a_value_its_key_takes() {
    for key in keys().filter(|key| !key.default.is_empty()) {
        let value = key.value_type.parse(key.default).unwrap();
        assert_eq!(key.value_type.check(&value), Ok(()), "{}", key.name);
    }
}

#[test]
fn later_sources_win_and_keys_match_in_any_case() {
    let yaml = "Analyzer:\n  LISTEN: 127.0.0.1:1\n  flow: {backend: memory}\n";
    let variables = [
        ("SKYDIVE_ANALYZER_LISTEN", "127.0.0.1:2"),
        ("SKYD_HOST_ID", "007"),
    ];
    let config = load(yaml, &[], &[]).unwrap();
    assert_eq!(config.address("analyzer.listen").unwrap().port, 1);
    assert_eq!(config.text("analyzer.flow.backend"), "memory");
    let config = load(yaml, &variables, &[]).unwrap();
    assert_eq!(config.address("analyzer.listen").unwrap().port, 2);
    assert_eq!(
        config.text("host_id"),
        "007",
        "a text stays as it is written"
    );
    let config = load(
        yaml,
        &variables,
        &["analyzer.listen=127.0.0.1:3", "Flow.Update=5m"],
    )
    .unwrap();
    assert_eq!(config.address("analyzer.listen").unwrap().port, 3);
    assert_eq!(config.duration("flow.update"), Duration::from_secs(300));
}

#[test]
fn later_files_are_merged_into_earlier_ones() {
    let mut loader = Loader::new();
    for text in [
        "ui: {theme: dark, topology: {favorites: {a: G}}}\nanalyzers: [a:1]\n",
        "ui: {theme: light, topology: {favorites: {b: G}}}\nanalyzers: [b:2]\n",
    ] {
        loader.add_tree("file", &mut Vec::new(), yaml(text).unwrap());
    }
    let config = loader.into_result().unwrap();
    let wanted = serde_json::json!(
        {"theme": "light", "topology": {"favorites": {"a": "G", "b": "G"}}}
    );
    assert_eq!(config.tree("ui"), Some(&wanted));
    assert_eq!(list(&config, "analyzers"), ["b:2"]);
}

#[test]
fn an_error_in_the_value_of_an_old_name_names_its_location() {
    let text = "agent: {flow: {pcapsocket: {port_min: x}}}";
    let error = Config::parse("skydive.yml", text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "skydive.yml: agent.flow.pcapsocket.port_min: agent.flow.pcapsocket.min_port: \
         \"x\" is not allowed; expected an integer from 1 to 65535"
    );
}

#[test]
fn a_misspelled_variable_is_one_warning() {
    let variable = |name: &str| (name.to_owned(), "127.0.0.1:1".to_owned());
    let names = [
        "SKYD_ANALYZER_LISTN",
        "SKYDIVE_ANALYZER_LISTEN",
        "SKYD_LOG",
        "SKYD_SOMETHING",
        "SKYDIVE_ANALYZER",
        "SKYDIVE_USERNAME",
        "SKYDIVE_PASSWORD",
    ];
    let config = Config::load(&Sources {
        environment: names.map(variable).into(),
        ..Sources::default()
    });
    assert_eq!(
        config.unwrap().warnings,
        ["unknown environment variable SKYD_ANALYZER_LISTN; did you mean SKYD_ANALYZER_LISTEN?"]
    );
}

#[test]
fn an_unknown_key_is_one_warning() {
    let config = read("analyzer: {listenn: 5}\nnonsense: {a: {b: 1}, c: 2}\nflow: {update: 3}\n");
    assert_eq!(
        config.warnings,
        [
            "skydive.yml: unknown key analyzer.listenn; did you mean analyzer.listen?",
            "skydive.yml: unknown key nonsense; `skyd config keys` lists all keys"
        ]
    );
    assert_eq!(config.duration("flow.update"), Duration::from_secs(3));
    let config = load(
        "",
        &[("SKYDIVE_USERNAME", "x"), ("PATH", "y")],
        &["no.such=1"],
    )
    .unwrap();
    assert_eq!(
        config.warnings,
        ["--set: unknown key no.such; `skyd config keys` lists all keys"]
    );
}

#[test]
fn a_bad_value_is_named_with_what_is_allowed() {
    assert_eq!(
        refused("flow: {update: 0}"),
        "skydive.yml: flow.update: 0 is not allowed; expected a duration greater than zero: \
         seconds, or 90s, 5m, 24h, 7d"
    );
    assert_eq!(
        refused("flow: {protocol: tcp}"),
        "skydive.yml: flow.protocol: \"tcp\" is not allowed; expected one of udp, websocket"
    );
    assert_eq!(
        load("", &[("SKYDIVE_ANALYZER_LISTEN", "here")], &[])
            .unwrap_err()
            .to_string(),
        "SKYDIVE_ANALYZER_LISTEN: analyzer.listen: \"here\" is not allowed; expected an \
         address: host:port, [v6]:port, :port or port"
    );
    assert_eq!(
        refused("analyzer: 5"),
        "skydive.yml: analyzer: expected keys below it, not a value"
    );
    assert!(refused("http: {limits: {connections: many}}").contains("an integer from 1 to"));
}

#[test]
fn secrets_are_never_shown() {
    let error = refused("agent: {auth: {cluster: {password: [hunter2]}}}");
    assert!(
        error.contains("(hidden)") && !error.contains("hunter2"),
        "{error}"
    );
    let error = yaml("auth: {a: {users: {admin: hunter2").unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn names_the_user_chooses_have_types_too() {
    let config = read(
        "auth: {conformance: {type: noauth}, mine: {type: basic, users: {Admin: pass}}}\n\
         analyzer: {auth: {api: {backend: conformance}, cluster: {backend: mine}}}\n",
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.backend_type("analyzer.auth.api.backend"), "noauth");
    assert_eq!(
        config.backend_type("analyzer.auth.cluster.backend"),
        "basic"
    );
    assert_eq!(config.backend_type("agent.auth.api.backend"), "noauth");
    let users = config.tree("auth.mine.users").unwrap();
    assert_eq!(users["Admin"], "pass", "names inside keep their case");
    assert!(refused("auth: {mine: {type: kerberos}}").contains("one of noauth, basic, keystone"));
}

#[test]
fn lists_and_trees_may_come_as_text() {
    let config = load(
        "",
        &[("SKYDIVE_ANALYZERS", "a:1 b:2")],
        &[
            "spp.ports={phy: [eth0], ring: {\"0\": lo}}",
            "agent.topology.probes=[netlink, netns]",
        ],
    )
    .unwrap();
    assert_eq!(list(&config, "analyzers"), ["a:1", "b:2"]);
    assert_eq!(list(&config, "agent.topology.probes"), ["netlink", "netns"]);
    assert_eq!(config.tree("spp.ports").unwrap()["ring"]["0"], "lo");
    assert!(load("", &[], &["spp.ports={phy: ["]).is_err());
}

#[test]
fn old_names_still_work_with_a_warning() {
    let config = read("graph: {backend: memory}\nagent: {flow: {stats_update: 7}}\n");
    assert_eq!(config.text("analyzer.topology.backend"), "memory");
    assert_eq!(
        config.duration("agent.capture.stats_update"),
        Duration::from_secs(7)
    );
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    let config = read("graph: {backend: memory}\nanalyzer: {topology: {backend: local}}\n");
    assert_eq!(
        config.text("analyzer.topology.backend"),
        "local",
        "the new name wins"
    );
    assert!(refused("auth: {type: 5}\nagent: {flow: {stats_update: no}}").contains("stats_update"));
}

#[test]
fn hostile_yaml_is_refused_in_time() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &(1..12)
            .map(|i| {
                let (this, last) = (char::from(b'a' + i), char::from(b'a' + i - 1));
                format!(
                    "{this}: &{this} [{}]\n",
                    vec![format!("*{last}"); 9].join(",")
                )
            })
            .collect::<String>();
    assert!(yaml(&bomb).is_err());
    assert!(yaml(&"[".repeat(100_000)).is_err());
    assert!(yaml("a: b: c").is_err());
}

#[test]
fn keys_without_effect_cause_a_warning() {
    let warnings = |text: &str| Config::parse("skydive.yml", text).unwrap().warnings;
    let found = warnings(
        "agent: {topology: {probes: [docker], vpp: {}}, metadata: {a: b}}\nflow: {protocol: udp, update: 5}\n\
         http: {rest: {debug: true}, ws: {enable_write_compression: false, ping_delay: 3}}\n\
         etcd: {embedded: true}\nstorage: {local: {path: /x, max_age: 1h}}\nlogging: {level: INFO}\n",
    );
    let wanted = [
        "agent.topology",
        "etcd",
        "http.rest.debug",
        "http.ws.enable_write_compression",
    ]
    .map(|key| format!("{key} has no effect: skyd does not support this key"));
    assert_eq!(found, wanted);
    assert!(warnings("flow: {update: 5}").is_empty());
}

#[test]
fn a_check_finds_all_errors_and_leaves_the_values_out() {
    let settings = [
        "flow.update=never",
        "flow.expire=5",
        "nonsense",
        "live.max_items=0",
    ];
    let (config, errors) = Config::check(&Sources {
        settings: settings.map(str::to_owned).into(),
        ..Sources::default()
    });
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].starts_with("--set: flow.update: \"never\" is not allowed"));
    assert_eq!(
        errors[1],
        "--set nonsense: expected key=value, such as flow.update=30s"
    );
    assert!(errors[2].contains("expected an integer from 1 to"));
    assert_eq!(config.duration("flow.expire"), Duration::from_secs(5));
    assert_eq!(config.duration("flow.update"), Duration::from_secs(60));
}

#[test]
fn a_key_that_occurs_twice_is_reported() {
    let mut loader = Loader::new();
    let text = "flow: {update: 10}\nanalyzer: {listen: '1234'}\nflow: {update: 20}\n";
    let content = FileContent {
        tree: yaml(text).unwrap(),
        duplicate_key: duplicate_key(text),
    };
    loader.add_file("skydive.yml", content);
    let config = loader.finish().into_result().unwrap();
    assert_eq!(config.duration("flow.update"), Duration::from_secs(20));
    let [warning] = &config.warnings[..] else {
        panic!("{:?}", config.warnings);
    };
    assert_eq!(
        warning,
        "skydive.yml: line 3, column 1: the key flow occurs twice in the same object; only the last \
         value is used: merge both values or delete one"
    );
    assert!(duplicate_key("flow: {update: 10}\nflow.update: 20\n").is_none());
}
