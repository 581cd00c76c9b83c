//! Result of a login, and the reasons to refuse one.

use super::policy::User;

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
