//! Builds the authentication backends and the policy from the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use super::basic::Basic;
use super::key_file::KeyFile;
use super::keystone::Keystone;
use super::policy::Policy;
use super::{Auth, Backend, Cluster};
use crate::config::Config;
use crate::tls;

/// Builds authentication and permissions from the configuration. The key file of local agents is in
/// the data folder unless another one is configured.
///
/// # Errors
/// Returns an error if a setting is missing or invalid, or the key file cannot be used; the error
/// names the key.
pub(crate) fn from_config(config: &Config, data_folder: &Path) -> anyhow::Result<Auth> {
    let (api, cluster, policy) = parts(config)?;
    for warning in policy_warnings(config, &policy, [Some(&api), cluster.as_ref()]) {
        tracing::warn!("{warning}");
    }
    let cluster = match cluster {
        Some(backend) => Cluster::Backend(backend),
        None => Cluster::Local(key_file(config, data_folder)?),
    };
    Ok(Auth {
        api,
        cluster,
        policy,
    })
}

/// Builds the authentication and the permissions of an agent, which has no clients of the cluster.
///
/// # Errors
/// Returns an error if a setting is missing or invalid; the error names the key.
pub(crate) fn for_agent(config: &Config) -> anyhow::Result<Auth> {
    Ok(Auth {
        api: backend(config, AGENT_API_KEY)?,
        cluster: Cluster::Backend(Backend::Open),
        policy: policy(config)?,
    })
}

/// Returns the path of the key file of local agents.
pub(crate) fn key_file_path(config: &Config, data_folder: &Path) -> PathBuf {
    match config.text(KEY_FILE_KEY) {
        path if path.is_empty() => data_folder.join(KEY_FILE),
        path => PathBuf::from(path),
    }
}

/// Checks the settings of authentication and permissions; creates no file. Returns warnings about
/// names that are probably misspelled.
///
/// # Errors
/// Returns an error if a setting is missing or invalid; the error names the key.
pub(crate) fn check(config: &Config) -> anyhow::Result<Vec<String>> {
    let (api, cluster, policy) = parts(config)?;
    let backends = [Some(&api), cluster.as_ref()];
    Ok(policy_warnings(config, &policy, backends))
}

/// Returns a warning for each name in `rbac.policy` that is probably misspelled. Every name may be a
/// user if an identity service knows the users; without authentication, nobody has a name.
fn policy_warnings(
    config: &Config,
    policy: &Policy,
    backends: [Option<&Backend>; 2],
) -> Vec<String> {
    let backends = || backends.iter().flatten();
    if !config.is_set("rbac.policy") || backends().all(|backend| matches!(backend, Backend::Open)) {
        return Vec::new();
    }
    let is_user = |name: &str| {
        backends().any(|backend| match backend {
            Backend::Open => false,
            Backend::Basic(basic) => basic.knows(name),
            Backend::Keystone(_) => true,
        })
    };
    let warnings = policy.unknown_names(is_user);
    let warning = |text| format!("rbac.policy: {text}");
    warnings.into_iter().map(warning).collect()
}

/// Builds the backend of the API, the backend of the cluster, and the policy. The cluster backend
/// is `None` if the API requires passwords and no cluster backend is configured.
fn parts(config: &Config) -> anyhow::Result<(Backend, Option<Backend>, Policy)> {
    let api = backend(config, API_KEY)?;
    let has_cluster = config.is_set(CLUSTER_KEY) || api.is_open();
    let cluster = has_cluster.then(|| backend(config, CLUSTER_KEY));
    Ok((api, cluster.transpose()?, policy(config)?))
}

/// Opens the key file of local agents.
fn key_file(config: &Config, data_folder: &Path) -> anyhow::Result<KeyFile> {
    let path = key_file_path(config, data_folder);
    let key = KeyFile::open_or_create(&path).with_context(|| KEY_FILE_KEY.to_owned())?;
    tracing::warn!(
        "agents and other analyzers are accepted from this machine only, with the key in {}, \
         because {API_KEY} is set and {CLUSTER_KEY} is not; set {CLUSTER_KEY} to accept others",
        path.display()
    );
    Ok(key)
}

/// Builds the backend that a key names.
fn backend(config: &Config, key: &str) -> anyhow::Result<Backend> {
    let name = config.text(key);
    let role = config.text(&format!("auth.{name}.role"));
    let idle = config.duration("http.limits.session_idle");
    match config.backend_type(key).as_str() {
        "noauth" => Ok(Backend::Open),
        "basic" => Ok(Backend::Basic(basic(config, &name, role, idle)?)),
        "keystone" => Ok(Backend::Keystone(keystone(config, &name, role)?)),
        other => bail!(
            "{key}: unknown authentication backend {other:?}; expected noauth, basic, keystone, or a \
             name with auth.<name>.type"
        ),
    }
}

fn basic(config: &Config, name: &str, role: String, idle: Duration) -> anyhow::Result<Basic> {
    let (file_key, users_key) = (format!("auth.{name}.file"), format!("auth.{name}.users"));
    let file = config.text(&file_key);
    match (file.is_empty(), config.tree(&users_key)) {
        (false, None) => Basic::with_file(PathBuf::from(file), role, idle)
            .map_err(|why| anyhow!("{file_key}: {why}")),
        (true, Some(users)) => users_of(users)
            .and_then(|users| Basic::with_users(users, role, idle))
            .map_err(|why| anyhow!("{users_key}: {why}")),
        _ => bail!(
            "auth.{name}: set exactly one of auth.{name}.file (htpasswd) and auth.{name}.users"
        ),
    }
}

fn keystone(config: &Config, name: &str, role: String) -> anyhow::Result<Keystone> {
    let text = |key: &str| config.text(&format!("auth.{name}.{key}"));
    let address = text("auth_url");
    if address.is_empty() {
        bail!(
            "auth.{name}.auth_url: not set; expected the URL of Keystone, such as http://host:5000"
        );
    }
    // An empty domain selects version 2 of the API.
    let (project, domain) = (text("tenant_name"), text("domain_name"));
    let authorities = tls::configured_roots(config)?;
    Keystone::new(&address, project, domain, role, authorities)
        .with_context(|| format!("auth.{name}.auth_url"))
}

/// Reads names and passwords; errors never quote a password.
fn users_of(users: &Value) -> Result<Vec<(String, String)>, String> {
    let users = users.as_object().ok_or("expected user: password")?;
    if users.is_empty() {
        return Err("contains no user".to_owned());
    }
    let pairs = users.iter().map(|(name, password)| {
        let password = match password {
            Value::String(text) if !text.is_empty() => text.clone(),
            Value::Number(number) if number.is_u64() => number.to_string(),
            _ => {
                return Err(format!(
                    "user {name}: expected a quoted, non-empty string as password"
                ));
            }
        };
        if name.is_empty() || name.contains(':') {
            return Err(format!("{name:?}: expected a name without a colon"));
        }
        Ok((name.clone(), password))
    });
    pairs.collect()
}

/// Builds the policy from `rbac.policy`; checks that `rbac.model` is the supported one.
fn policy(config: &Config) -> anyhow::Result<Policy> {
    let mut policy = Policy::default();
    for (name, supported) in MODEL {
        let key = format!("rbac.model.{name}");
        let Some(configured) = config.tree(&key) else {
            continue;
        };
        if plain(&lines(configured).join("")) != plain(supported) {
            bail!("{key}: not supported; expected {supported}");
        }
    }
    let Some(configured) = config.tree("rbac.policy") else {
        return Ok(policy);
    };
    for line in lines(configured) {
        let added = policy.add(&line).map_err(|why| anyhow!("{why}"));
        added.context("rbac.policy")?;
    }
    Ok(policy)
}

/// Returns the lines of a list or of a string.
fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.lines().map(str::to_owned).collect(),
        Value::Array(items) => items.iter().flat_map(lines).collect(),
        other => vec![other.to_string()],
    }
}

/// Returns a part of the model in normalized form: without blanks, and with `_` instead of `.`.
fn plain(text: &str) -> String {
    let letters = text.chars().filter(|c| !c.is_whitespace());
    letters.map(|c| if c == '.' { '_' } else { c }).collect()
}

/// Parts of the supported model.
///
/// COMPAT: the model of Skydive.
const MODEL: &[(&str, &str)] = &[
    ("request_definition", "sub, obj, act"),
    ("policy_definition", "sub, obj, act, eft"),
    ("role_definition", "_, _"),
    (
        "policy_effect",
        "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    ),
    (
        "matchers",
        "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act",
    ),
];
const API_KEY: &str = "analyzer.auth.api.backend";
const AGENT_API_KEY: &str = "agent.auth.api.backend";
const CLUSTER_KEY: &str = "analyzer.auth.cluster.backend";
const KEY_FILE_KEY: &str = "analyzer.auth.cluster.key_file";
/// Name of the key file in the data folder.
const KEY_FILE: &str = "agent.key";
