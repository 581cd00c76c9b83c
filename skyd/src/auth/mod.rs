//! Who asks, and what they may: credentials are verified here, sockets are not known.
//!
//! ```text
//! request ─ carrier: credentials ─ backend: user ─ policy: may it? ─ handler
//!                └ 401               └ 401           └ 405, of a socket 403
//! ```

mod basic;
mod config;
pub(crate) mod credentials;
mod htpasswd;
mod keystone;
mod login;
mod policy;
mod session;

pub(crate) use config::from_config;
pub(crate) use login::{Denied, Login};
pub(crate) use policy::{Permission, User};

use std::net::IpAddr;

use self::basic::Basic;
use self::keystone::Keystone;
use self::policy::Policy;

/// The backends and the policy of a daemon.
pub(crate) struct Auth {
    pub(crate) api: Backend,
    pub(crate) cluster: Cluster,
    pub(crate) policy: Policy,
}

/// How users prove who they are.
pub(crate) enum Backend {
    /// They need not: everybody is `admin`.
    Open,
    /// With a password that is known here.
    Basic(Basic),
    /// With a token of OpenStack's identity service.
    Keystone(Keystone),
}

/// Who may connect to the endpoints of agents and other analyzers.
pub(crate) enum Cluster {
    /// Whom this backend knows.
    Backend(Backend),
    /// Clients on this machine: the API is closed, and nothing is written about these endpoints.
    Loopback,
}

impl Backend {
    /// Who credentials, as a request carries them, belong to.
    ///
    /// # Errors
    /// [`Denied`]
    pub(crate) async fn verify(&self, credentials: Option<&str>) -> Result<User, Denied> {
        match self {
            Self::Open => Ok(admin()),
            Self::Basic(basic) => {
                let credentials = credentials.ok_or(Denied::Credentials)?;
                basic.verify(credentials::secret(credentials)).await
            }
            Self::Keystone(keystone) => {
                let credentials = credentials.ok_or(Denied::Credentials)?;
                keystone.verify(credentials::secret(credentials)).await
            }
        }
    }

    async fn login(&self, name: &str, password: &str) -> Result<Login, Denied> {
        match self {
            Self::Open => Ok(Login {
                user: admin(),
                token: String::new(),
            }),
            Self::Basic(basic) => basic.login(name, password).await,
            Self::Keystone(keystone) => keystone.login(name, password).await,
        }
    }

    /// Reads again what it has of files.
    fn reload(&self) -> Result<(), String> {
        match self {
            Self::Open | Self::Keystone(_) => Ok(()),
            Self::Basic(basic) => basic.reload(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

impl Auth {
    /// Begins a session of the API's backend, and tells what its user may.
    ///
    /// # Errors
    /// [`Denied`]
    pub(crate) async fn login(
        &self,
        name: &str,
        password: &str,
    ) -> Result<(Login, Vec<Permission>), Denied> {
        let login = self.api.login(name, password).await?;
        let permissions = self.policy.permissions(&login.user);
        Ok((login, permissions))
    }

    /// Whether everybody may use the API.
    pub(crate) fn is_open(&self) -> bool {
        self.api.is_open()
    }

    /// Whether flows may come from an address in datagrams, which carry no credentials.
    ///
    /// COMPAT: where agents have a backend they may go on sending flows without it.
    pub(crate) fn takes_datagrams_of(&self, peer: IpAddr) -> bool {
        match self.cluster {
            Cluster::Backend(_) => true,
            Cluster::Loopback => peer.to_canonical().is_loopback(),
        }
    }

    /// Reads password files again; those that cannot be read leave everything as it was.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn reload(&self) -> Result<(), String> {
        self.api.reload()?;
        match &self.cluster {
            Cluster::Backend(backend) => backend.reload(),
            Cluster::Loopback => Ok(()),
        }
    }
}

fn admin() -> User {
    User {
        name: ADMIN.to_owned(),
        default_role: ADMIN.to_owned(),
    }
}

/// The user everybody is where nobody need say who they are, and the role that may all.
pub(crate) const ADMIN: &str = "admin";
