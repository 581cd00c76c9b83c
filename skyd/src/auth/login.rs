//! Result of a login, and the reasons to refuse one.

use super::policy::User;

/// Result of a login.
#[derive(Debug)]
pub(crate) struct Login {
    /// The user who has logged in.
    pub(crate) user: User,
    /// Token that replaces name and password from now on; empty if none is needed.
    pub(crate) token: String,
}

/// Reason to deny access.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The credentials are missing or wrong.
    ///
    /// COMPAT: the text of Skydive.
    #[error("Wrong credentials")]
    Credentials,
    /// The authentication service refused the credentials or cannot be reached.
    #[error("{0}")]
    Backend(String),
    /// Too many checks are in progress.
    #[error("credentials cannot be checked now, try again later")]
    Busy,
}
