//! Authentication and permissions, independent of HTTP.
//!
//! ```text
//! request ─ credentials ─ backend: user ─ policy: permission ─ handler
//!                └ 401          └ 401         └ 405, for WebSocket 403
//! ```

mod basic;
mod check_queue;
mod config;
pub(crate) mod credentials;
mod htpasswd;
mod key_file;
mod keystone;
mod login;
mod policy;
mod session;

pub(crate) use config::{check, for_agent, from_config, key_file_path};
pub(crate) use login::{Denied, Login};
pub(crate) use policy::{Permission, User};

use std::net::IpAddr;

use self::basic::Basic;
use self::key_file::KeyFile;
use self::keystone::Keystone;
use self::policy::Policy;

/// Authentication backends and permissions of the daemon.
pub(crate) struct Auth {
    pub(crate) api: Backend,
    pub(crate) cluster: Cluster,
    pub(crate) policy: Policy,
}

/// Authentication backend.
pub(crate) enum Backend {
    /// No authentication: everyone is `admin`.
    Open,
    /// User names with passwords.
    Basic(Basic),
    /// Tokens of OpenStack's identity service.
    Keystone(Keystone),
}

/// Access to the endpoints of agents and other analyzers.
pub(crate) enum Cluster {
    /// Clients that this backend authenticates.
    Backend(Backend),
    /// Clients on this machine that present the key of this file: the API requires authentication, and
    /// no cluster backend is configured.
    Local(KeyFile),
}

impl Backend {
    /// Returns the user to whom the credentials of a request belong.
    ///
    /// # Errors
    /// Returns [`Denied`] if the credentials are missing, wrong, or cannot be checked.
    pub(crate) async fn verify(
        &self,
        credentials: Option<&str>,
        peer: IpAddr,
    ) -> Result<User, Denied> {
        match self {
            Self::Open => Ok(admin()),
            Self::Basic(basic) => {
                let credentials = credentials.ok_or(Denied::Credentials)?;
                basic.verify(credentials::secret(credentials), peer).await
            }
            Self::Keystone(keystone) => {
                let credentials = credentials.ok_or(Denied::Credentials)?;
                keystone.verify(credentials::secret(credentials)).await
            }
        }
    }

    /// Logs a user in. See [`Auth::login`].
    async fn login(&self, name: &str, password: &str, peer: IpAddr) -> Result<Login, Denied> {
        match self {
            Self::Open => Ok(Login {
                user: admin(),
                token: String::new(),
            }),
            Self::Basic(basic) => basic.login(name, password, peer).await,
            Self::Keystone(keystone) => keystone.login(name, password).await,
        }
    }

    /// Reloads the password file, if there is one.
    fn reload(&self) -> Result<(), String> {
        match self {
            Self::Open | Self::Keystone(_) => Ok(()),
            Self::Basic(basic) => basic.reload(),
        }
    }

    /// Returns whether everyone is admitted.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

impl Auth {
    /// Logs a user of the API in; returns a token and the permissions of the user.
    ///
    /// # Errors
    /// Returns [`Denied`] if the name or password is wrong or cannot be checked.
    pub(crate) async fn login(
        &self,
        name: &str,
        password: &str,
        peer: IpAddr,
    ) -> Result<(Login, Vec<Permission>), Denied> {
        let login = self.api.login(name, password, peer).await?;
        let permissions = self.policy.permissions(&login.user);
        Ok((login, permissions))
    }

    /// Ends a session if the credentials of a request are its token. Other credentials (passwords,
    /// and tokens of Keystone) remain valid.
    pub(crate) fn logout(&self, credentials: &str) {
        if let Backend::Basic(basic) = &self.api {
            basic.logout(credentials::secret(credentials));
        }
    }

    /// Returns whether everyone can use the API.
    pub(crate) fn is_open(&self) -> bool {
        self.api.is_open()
    }

    /// Returns whether flow datagrams, which carry no credentials, are accepted from every address.
    ///
    /// COMPAT: with a cluster backend, agents can send datagrams without authentication.
    pub(crate) const fn accepts_all_datagrams(&self) -> bool {
        matches!(self.cluster, Cluster::Backend(_))
    }

    /// Reloads the password files.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or is invalid. The previous users of that file
    /// then remain valid.
    pub(crate) fn reload(&self) -> Result<(), String> {
        self.api.reload()?;
        match &self.cluster {
            Cluster::Backend(backend) => backend.reload(),
            Cluster::Local(_) => Ok(()),
        }
    }
}

/// Returns the user that is assumed for requests without authentication.
fn admin() -> User {
    User {
        name: ADMIN.to_owned(),
        default_role: ADMIN.to_owned(),
    }
}

/// Name of the user of requests without authentication, and of the role with all permissions.
pub(crate) const ADMIN: &str = "admin";
