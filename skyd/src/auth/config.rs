//! From the configuration to backends and policy.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use super::basic::Basic;
use super::keystone::Keystone;
use super::policy::Policy;
use super::{Auth, Backend, Cluster};
use crate::config::Config;
use crate::tls;

/// Everything the configuration says about authentication and permissions.
///
/// # Errors
/// A setting that is missing or not allowed, with its key.
pub(crate) fn from_config(config: &Config) -> anyhow::Result<Auth> {
    let api = backend(config, API_KEY)?;
    let cluster = if config.is_set(CLUSTER_KEY) || api.is_open() {
        Cluster::Backend(backend(config, CLUSTER_KEY)?)
    } else {
        tracing::warn!(
            "agents and other analyzers are served on this machine only, as {API_KEY} is set: \
             {CLUSTER_KEY} opens their endpoints"
        );
        Cluster::Loopback
    };
    Ok(Auth {
        api,
        cluster,
        policy: policy(config)?,
    })
}

fn backend(config: &Config, key: &str) -> anyhow::Result<Backend> {
    let name = config.text(key);
    let role = config.text(&format!("auth.{name}.role"));
    let idle = config.duration("http.limits.session_idle");
    match config.backend_type(key).as_str() {
        "noauth" => Ok(Backend::Open),
        "basic" => Ok(Backend::Basic(basic(config, &name, role, idle)?)),
        "keystone" => Ok(Backend::Keystone(keystone(config, &name, role)?)),
        other => bail!(
            "{key}: {other:?} is no type of authentication, one of noauth, basic, keystone or a \
             name with auth.<name>.type expected"
        ),
    }
}

fn basic(config: &Config, name: &str, role: String, idle: Duration) -> anyhow::Result<Basic> {
    let (file_key, users_key) = (format!("auth.{name}.file"), format!("auth.{name}.users"));
    let file = config.text(&file_key);
    match (file.is_empty(), config.tree(&users_key)) {
        (false, None) => Basic::of_file(PathBuf::from(file), role, idle)
            .map_err(|why| anyhow!("{file_key}: {why}")),
        (true, Some(users)) => users_of(users)
            .and_then(|users| Basic::of_users(users, role, idle))
            .map_err(|why| anyhow!("{users_key}: {why}")),
        _ => bail!("auth.{name}: either file (htpasswd) or users expected"),
    }
}

fn keystone(config: &Config, name: &str, role: String) -> anyhow::Result<Keystone> {
    let text = |key: &str| config.text(&format!("auth.{name}.{key}"));
    let address = text("auth_url");
    if address.is_empty() {
        bail!("auth.{name}.auth_url: the address of Keystone expected, http://host:5000");
    }
    // Written empty, the domain says that version 2 is spoken.
    let (project, domain) = (text("tenant_name"), text("domain_name"));
    let authorities = match config.text(tls::CA_CERT) {
        path if path.is_empty() => None,
        path => {
            let roots = tls::roots(&path.into()).with_context(|| tls::CA_CERT.to_owned());
            Some(roots?)
        }
    };
    Keystone::new(&address, project, domain, role, authorities)
        .with_context(|| format!("auth.{name}.auth_url"))
}

/// Names and passwords; errors never quote a password.
fn users_of(users: &Value) -> Result<Vec<(String, String)>, String> {
    let users = users.as_object().ok_or("user: password expected")?;
    if users.is_empty() {
        return Err("there is no user in it".to_owned());
    }
    let pairs = users.iter().map(|(name, password)| {
        let password = match password {
            Value::String(text) if !text.is_empty() => text.clone(),
            Value::Number(number) if number.is_u64() => number.to_string(),
            _ => return Err(format!("{name}: a password in quotes expected")),
        };
        if name.is_empty() || name.contains(':') {
            return Err(format!("{name:?}: a name without a colon expected"));
        }
        Ok((name.clone(), password))
    });
    pairs.collect()
}

fn policy(config: &Config) -> anyhow::Result<Policy> {
    let mut policy = Policy::default();
    for (name, usual) in MODEL {
        let key = format!("rbac.model.{name}");
        let Some(written) = config.tree(&key) else {
            continue;
        };
        if plain(&lines(written).join("")) != plain(usual) {
            bail!("{key}: only the usual model is supported: {usual}");
        }
    }
    let Some(written) = config.tree("rbac.policy") else {
        return Ok(policy);
    };
    for line in lines(written) {
        let added = policy.add(&line).map_err(|why| anyhow!("{why}"));
        added.context("rbac.policy")?;
    }
    Ok(policy)
}

/// A list of lines, or a text of several.
fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.lines().map(str::to_owned).collect(),
        Value::Array(items) => items.iter().flat_map(lines).collect(),
        other => vec![other.to_string()],
    }
}

/// Without what does not count: blanks, and whether a dot or an underscore is written.
fn plain(text: &str) -> String {
    let letters = text.chars().filter(|c| !c.is_whitespace());
    letters.map(|c| if c == '.' { '_' } else { c }).collect()
}

/// The model of the original, part by part.
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
const CLUSTER_KEY: &str = "analyzer.auth.cluster.backend";
