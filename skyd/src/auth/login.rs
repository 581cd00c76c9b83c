//! Result of a login, and the reasons to deny it.

use super::policy::User;

/// Result of a login.
#[derive(Debug)]
pub(crate) struct Login {
    /// The user who has logged in.
    pub(crate) user: User,
    /// Token that replaces name and password in later requests; empty if no token is needed.
    pub(crate) token: String,
}

/// Reason to deny access.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The credentials are missing or wrong.
    ///
    /// COMPAT: the message of Skydive.
    #[error("Wrong credentials")]
    Credentials,
    /// The authentication service rejected the credentials or cannot be reached.
    #[error("{0}")]
    Backend(String),
    /// Too many checks are in progress.
    #[error("too many password checks are in progress; try again later")]
    Busy,
}
