//! Login sessions: random tokens that replace the password, with expiry and a limit per user.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

/// Open sessions of a backend by their tokens.
///
/// A session ends after the idle timeout, when its user exceeds the limit on sessions (least
/// recently used first), and with the process.
pub(crate) struct Sessions {
    /// Time without use after which a session ends (idle timeout).
    idle: Duration,
    /// Maximum number of sessions of one user.
    max_per_user: usize,
    random: SystemRandom,
    open: Mutex<HashMap<String, Session>>,
}

/// Session: its user and the time of its last use.
struct Session {
    user: String,
    used: Instant,
}

impl Sessions {
    /// Creates a registry whose sessions end after `idle` without use.
    pub(crate) fn new(idle: Duration) -> Self {
        Self {
            idle,
            max_per_user: MAX_PER_USER,
            random: SystemRandom::new(),
            open: Mutex::default(),
        }
    }

    /// Begins a session and returns its token; `None` if the system provides no random bytes.
    pub(crate) fn begin(&self, user: &str, now: Instant) -> Option<String> {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes).ok()?;
        let mut token = String::with_capacity(64);
        for byte in bytes {
            write!(token, "{byte:02x}").ok()?;
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| now.duration_since(session.used) < self.idle);
        let of_user = open.iter().filter(|(_, session)| session.user == user);
        if of_user.clone().count() >= self.max_per_user {
            let oldest = of_user.min_by_key(|(_, session)| session.used);
            if let Some(oldest) = oldest.map(|(token, _)| token.clone()) {
                open.remove(&oldest);
            }
        }
        let session = Session {
            user: user.to_owned(),
            used: now,
        };
        open.insert(token.clone(), session);
        Some(token)
    }

    /// Returns the user of a session and marks the session as used; `None` if the token is unknown or
    /// expired.
    pub(crate) fn user(&self, token: &str, now: Instant) -> Option<String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get_mut(token)?;
        if now.duration_since(session.used) >= self.idle {
            open.remove(token);
            return None;
        }
        session.used = now;
        Some(session.user.clone())
    }

    /// Ends the session of a token, if it exists.
    pub(crate) fn end(&self, token: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(token);
    }

    /// Ends all sessions of users for whom a predicate is true.
    pub(crate) fn end_where(&self, is_over: impl Fn(&str) -> bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| !is_over(&session.user));
    }
}

/// Maximum number of sessions of one user: scripts log in at each start and never log out.
const MAX_PER_USER: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(max_per_user: usize) -> Sessions {
        Sessions {
            max_per_user,
            ..Sessions::new(Duration::from_secs(60))
        }
    }

    #[test]
    fn a_session_lasts_while_it_is_used() {
        let sessions = sessions(9);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let token = sessions.begin("ann", start).unwrap();
        assert_eq!(sessions.user(&token, at(59)).as_deref(), Some("ann"));
        assert_eq!(sessions.user(&token, at(118)).as_deref(), Some("ann"));
        assert_eq!(sessions.user(&token, at(178)), None);
        assert_eq!(sessions.user(&token, at(178)), None);
        assert_eq!(sessions.user("", at(0)), None);
    }

    #[test]
    fn tokens_are_long_and_differ() {
        let sessions = sessions(9);
        let now = Instant::now();
        let tokens = [0; 3].map(|_| sessions.begin("ann", now).unwrap());
        assert!(tokens.iter().all(|token| token.len() == 64));
        assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2]);
    }

    #[test]
    fn the_least_recently_used_session_of_the_same_user_is_ended() {
        let sessions = sessions(2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let other = sessions.begin("bob", at(0)).unwrap();
        let [first, second] = [1, 2].map(|s| sessions.begin("ann", at(s)).unwrap());
        assert!(sessions.user(&first, at(3)).is_some());
        let third = sessions.begin("ann", at(4)).unwrap();
        assert_eq!(sessions.user(&second, at(5)), None);
        for token in [&first, &third, &other] {
            assert!(sessions.user(token, at(5)).is_some());
        }
        sessions.end("unknown");
        sessions.end(&third);
        assert_eq!(sessions.user(&third, at(5)), None);
        sessions.end_where(|user| user == "ann");
        assert_eq!(sessions.user(&first, at(5)), None);
        assert!(sessions.user(&other, at(5)).is_some());
    }
}
