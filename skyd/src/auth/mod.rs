//! Who asks, and what they may: credentials are verified here, sockets are not known.
//!
//! ```text
//! request ─ carrier: credentials ─ backend: user ─ policy: may it? ─ handler
//!                └ 401               └ 401           └ 405, of a socket 403
//! ```

mod basic;
mod carrier;
mod gate;
mod htpasswd;
mod keystone;
mod policy;
mod session;
mod settings;

pub(crate) use gate::{Access, admit, read, refused, write};
pub(crate) use policy::{Permission, User};
pub(crate) use settings::from_config;

use std::net::IpAddr;

use self::basic::Basic;
use self::keystone::Keystone;
use self::policy::Policy;

/// The backends and the policy of a daemon.
pub(crate) struct Auth {
    api: Backend,
    cluster: Cluster,
    policy: Policy,
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
enum Cluster {
    /// Whom this backend knows.
    Backend(Backend),
    /// Clients on this machine: the API is closed, and nothing is written about these endpoints.
    Loopback,
}

/// A user who has just logged in.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) user: User,
    /// What stands for user and password from now on; empty where none is needed.
    pub(crate) token: String,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// There are no credentials, or wrong ones.
    #[error("Wrong credentials")]
    Credentials,
    /// The service that knows them does not know these, or cannot be asked.
    #[error("{0}")]
    Backend(String),
    /// They cannot be checked now.
    #[error("credentials cannot be checked now, try again later")]
    Busy,
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
                basic.verify(carrier::secret(credentials)).await
            }
            Self::Keystone(keystone) => {
                let credentials = credentials.ok_or(Denied::Credentials)?;
                keystone.verify(carrier::secret(credentials)).await
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

    fn is_open(&self) -> bool {
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

    /// Which permission a user lacks, in words; `None` where it may.
    pub(crate) fn missing(&self, user: &User, object: &str, action: &str) -> Option<String> {
        let may = self.policy.allows(user, object, action);
        (!may).then(|| gate::missing(user, object, action))
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
const ADMIN: &str = "admin";
