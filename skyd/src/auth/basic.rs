//! The backend `basic`: users and passwords from the configuration or an `htpasswd` file.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::{digest, hmac};
use tokio::time::Instant;

use super::check_queue::CheckQueue;
use super::htpasswd::{self, StoredPassword};
use super::login::{Denied, Login};
use super::policy::User;
use super::session::Sessions;

/// Backend of users with passwords.
pub(crate) struct Basic {
    users: RwLock<Arc<Users>>,
    file: Option<PathBuf>,
    default_role: String,
    sessions: Sessions,
    checks: CheckQueue,
}

/// Snapshot of names and passwords; a reload replaces the whole snapshot.
struct Users {
    stored: HashMap<String, StoredPassword>,
    /// Cost of the slowest hash; every check takes as long as that hash.
    cost: u32,
    recent: Recent,
}

impl Basic {
    /// Creates a backend of users from the configuration.
    ///
    /// # Errors
    /// Returns an error if the operating system provides no random bytes.
    pub(crate) fn with_users(
        users: Vec<(String, String)>,
        default_role: String,
        idle: Duration,
    ) -> Result<Self, String> {
        let users = users
            .into_iter()
            .map(|(name, password)| (name, StoredPassword::Clear(password)));
        let users = Users::new(users.collect())?;
        Ok(Self::new(users, None, default_role, idle))
    }

    /// Creates a backend of the users of an `htpasswd` file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or is invalid.
    pub(crate) fn with_file(
        file: PathBuf,
        default_role: String,
        idle: Duration,
    ) -> Result<Self, String> {
        let users = Users::read(&file)?;
        Ok(Self::new(users, Some(file), default_role, idle))
    }

    fn new(users: Users, file: Option<PathBuf>, default_role: String, idle: Duration) -> Self {
        Self {
            users: RwLock::new(Arc::new(users)),
            file,
            default_role,
            sessions: Sessions::new(idle),
            checks: CheckQueue::new(),
        }
    }

    /// Reloads the file. Ends the sessions of users that were removed or have a new password.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or is invalid. The previous users then remain
    /// valid.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let new = Arc::new(Users::read(file)?);
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *users, Arc::clone(&new));
        drop(users);
        self.sessions
            .end_where(|name| old.stored.get(name) != new.stored.get(name));
        Ok(())
    }

    /// Returns whether a name is that of a user or the default role of users.
    pub(crate) fn knows(&self, name: &str) -> bool {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        self.default_role == name || users.stored.contains_key(name)
    }

    /// Checks a password and begins a session.
    ///
    /// # Errors
    /// Returns [`Denied`] if the name or password is wrong or cannot be checked.
    pub(crate) async fn login(
        &self,
        name: &str,
        password: &str,
        peer: IpAddr,
    ) -> Result<Login, Denied> {
        self.check(name, password, peer).await?;
        let token = self
            .sessions
            .begin(name, Instant::now())
            .ok_or(Denied::Busy)?;
        Ok(Login {
            user: self.user(name),
            token,
        })
    }

    /// Returns the user of a secret: the token of a session, or the Base64 of `user:password`.
    ///
    /// # Errors
    /// Returns [`Denied`] if the secret is neither of them or cannot be checked.
    pub(crate) async fn verify(&self, secret: &str, peer: IpAddr) -> Result<User, Denied> {
        if let Some(name) = self.sessions.user(secret, Instant::now()) {
            return Ok(self.user(&name));
        }
        let pair = STANDARD
            .decode(secret)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = pair.ok_or(Denied::Credentials)?;
        let (name, password) = pair.split_once(':').ok_or(Denied::Credentials)?;
        self.check(name, password, peer).await?;
        Ok(self.user(name))
    }

    /// Ends the session of a token, if it exists.
    pub(crate) fn logout(&self, token: &str) {
        self.sessions.end(token);
    }

    fn user(&self, name: &str) -> User {
        User {
            name: name.to_owned(),
            default_role: self.default_role.clone(),
        }
    }

    /// Checks a password with the permit of its address and name. Slow hashes are checked on a
    /// blocking thread.
    async fn check(&self, name: &str, password: &str, peer: IpAddr) -> Result<(), Denied> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(Denied::Credentials);
        }
        let users = Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner));
        let is_slow = users.cost > 0;
        let now = Instant::now();
        if is_slow && users.recent.contains(name, password, now) {
            return Ok(());
        }
        let mut permit = self.checks.permit(peer, name, is_slow).await?;
        let checked = match permit.take_slot() {
            // Meanwhile, another request from the same user was checked.
            Some(_) if users.recent.contains(name, password, now) => Ok(()),
            None => users.verify(name, password),
            Some(slot) => {
                let pair = (name.to_owned(), password.to_owned());
                let checking = tokio::task::spawn_blocking(move || {
                    let _slot = slot;
                    users.verify(&pair.0, &pair.1)?;
                    users.recent.add(&pair.0, &pair.1, now);
                    Ok::<(), Denied>(())
                });
                checking.await.map_err(|_| Denied::Busy)?
            }
        };
        self.checks.record(&permit, checked.is_ok());
        if checked.is_err() {
            // The delay after each wrong password limits the number of these messages.
            tracing::info!(%peer, user = ?name, "refused a login: unknown user or wrong password");
        }
        checked
    }
}

impl Users {
    fn new(users: Vec<(String, StoredPassword)>) -> Result<Self, String> {
        let cost = users.iter().map(|(_, stored)| stored.cost()).max();
        Ok(Self {
            stored: users.into_iter().collect(),
            cost: cost.unwrap_or_default(),
            recent: Recent::new()?,
        })
    }

    /// Reads the users of an `htpasswd` file.
    fn read(file: &PathBuf) -> Result<Self, String> {
        let mut text = String::new();
        File::open(file)
            .and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let users = htpasswd::parse(&text).map_err(|why| format!("{}: {why}", file.display()))?;
        if users.is_empty() {
            return Err(format!("{}: contains no user", file.display()));
        }
        Self::new(users)
    }

    /// Checks a password. The slowest type of hash is computed for every name, so that the time of the
    /// answer does not reveal which users exist.
    fn verify(&self, name: &str, password: &str) -> Result<(), Denied> {
        let stored = self.stored.get(name);
        let is_right = stored.is_some_and(|stored| stored.verify(password));
        if stored.is_none_or(|stored| stored.cost() < self.cost) {
            let _wrong = StoredPassword::never_matching(self.cost).verify(password);
        }
        if is_right {
            Ok(())
        } else {
            Err(Denied::Credentials)
        }
    }
}

/// Cache of recently verified passwords, as keyed digests, so that a client that sends its password
/// with every request does not wait for a slow hash each time.
struct Recent {
    key: hmac::Key,
    digests: Mutex<HashMap<Vec<u8>, Instant>>,
}

impl Recent {
    fn new() -> Result<Self, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self {
            key: key.map_err(|_| "the operating system provides no random bytes".to_owned())?,
            digests: Mutex::default(),
        })
    }

    /// Returns the keyed digest (HMAC) of a name and a password.
    fn digest(&self, name: &str, password: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [name, password] {
            context.update(digest::digest(&digest::SHA256, part.as_bytes()).as_ref());
        }
        context.sign().as_ref().to_vec()
    }

    /// Returns whether the password was verified within [`RECENT`].
    fn contains(&self, name: &str, password: &str, now: Instant) -> bool {
        let digest = self.digest(name, password);
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let since = digests.get(&digest).map(|since| now.duration_since(*since));
        since.is_some_and(|since| since < RECENT)
    }

    /// Adds a verified password and removes expired ones.
    fn add(&self, name: &str, password: &str, now: Instant) {
        let digest = self.digest(name, password);
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.retain(|_, since| now.duration_since(*since) < RECENT);
        digests.insert(digest, now);
    }
}

/// Time for which a verified password is accepted without another check.
const RECENT: Duration = Duration::from_secs(60);
/// Maximum length of a password, in bytes: hashing one as long as a whole header would occupy a
/// thread.
const MAX_PASSWORD_BYTES: usize = 1024;
/// Maximum number of bytes that are read from the password file.
const MAX_FILE_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const WEEK: Duration = Duration::from_secs(604_800);

    fn clear(users: &[(&str, &str)]) -> Basic {
        let users = users
            .iter()
            .map(|(name, password)| ((*name).into(), (*password).into()));
        Basic::with_users(users.collect(), "guest".to_owned(), WEEK).unwrap()
    }

    fn base64(text: &str) -> String {
        STANDARD.encode(text)
    }

    #[tokio::test]
    async fn passwords_and_tokens_identify_users() {
        let basic = clear(&[("ann", "one:two"), ("bob", "b")]);
        let user = basic.verify(&base64("ann:one:two"), PEER).await.unwrap();
        assert_eq!(
            (user.name.as_str(), user.default_role.as_str()),
            ("ann", "guest")
        );
        let login = basic.login("bob", "b", PEER).await.unwrap();
        assert_eq!(basic.verify(&login.token, PEER).await.unwrap().name, "bob");
        assert_ne!(
            login.token,
            base64("bob:b"),
            "the token does not contain the password"
        );
        for wrong in [
            "",
            "Basic",
            "%%%",
            "ann:one:two",
            &base64("ann"),
            &base64("ann:"),
            &base64("ann:one"),
            &base64("ANN:one:two"),
            &base64("ann:b"),
            &base64(":"),
            &base64(&format!("ann:{}", "x".repeat(100_000))),
            &STANDARD.encode([0xff, b':', 0xff]),
            &login.token[1..],
            &login.token.to_ascii_uppercase(),
        ] {
            assert_eq!(
                basic.verify(wrong, PEER).await,
                Err(Denied::Credentials),
                "{wrong:.80}"
            );
        }
        assert_eq!(
            basic.login("bob", "", PEER).await.unwrap_err(),
            Denied::Credentials
        );
        assert_eq!(
            basic.login("eve", "b", PEER).await.unwrap_err(),
            Denied::Credentials
        );
    }

    /// Password file of a test, removed when dropped.
    struct PasswordFile(PathBuf);

    impl PasswordFile {
        fn with(name: &str, text: &str) -> Self {
            let file = format!("skyd-htpasswd-{name}-{}", std::process::id());
            let file = Self(std::env::temp_dir().join(file));
            std::fs::write(&file.0, text).unwrap();
            file
        }
    }

    impl Drop for PasswordFile {
        fn drop(&mut self) {
            drop(std::fs::remove_file(&self.0));
        }
    }

    const ANN: &str = "ann:$2y$05$ViShHRlUaPXnRxu3Llz05.vnQYmJcmVjmrVaBJSyCKC63ngGMuWHK\n";
    const BOB: &str = "bob:{SHA}/vNB+F2HQ559kaLUZbmHHvZrXpg=\n";
    const OTHER_ANN: &str = "ann:$2y$05$jY/xXiPWhu07gEWP8a/lXOZ0iAP2usszHx/pw7RpY.yn3OpK1FrBS\n";

    #[tokio::test]
    async fn a_reload_ends_the_sessions_of_changed_users() {
        let file = PasswordFile::with("reload", &format!("{ANN}{BOB}"));
        let basic = Basic::with_file(file.0.clone(), "admin".to_owned(), WEEK).unwrap();
        let secret = base64("ann:s3cret");
        // The second time, the password is in the cache.
        for _ in 0..2 {
            assert_eq!(basic.verify(&secret, PEER).await.unwrap().name, "ann");
        }
        let ann = basic.login("ann", "s3cret", PEER).await.unwrap().token;
        let bob = basic.login("bob", "s3cret", PEER).await.unwrap().token;
        std::fs::write(&file.0, "torn").unwrap();
        let error = basic.reload().unwrap_err();
        assert!(error.contains("line 1: expected user:hash"), "{error}");
        assert!(
            basic.verify(&ann, PEER).await.is_ok(),
            "a bad file changes nothing"
        );
        std::fs::write(&file.0, format!("{OTHER_ANN}{BOB}")).unwrap();
        basic.reload().unwrap();
        assert!(basic.verify(&ann, PEER).await.is_err());
        assert!(basic.verify(&secret, PEER).await.is_err());
        assert!(basic.verify(&bob, PEER).await.is_ok());
        assert!(basic.login("ann", "", PEER).await.is_ok());
    }

    #[test]
    fn unknown_users_cost_as_much_as_wrong_passwords() {
        let users = htpasswd::parse(&format!("{ANN}{BOB}")).unwrap();
        let users = Users::new(users).unwrap();
        assert_eq!(users.cost, 5, "the slowest hash, for all users");
        for (name, password, is_right) in [
            ("ann", "s3cret", true),
            ("bob", "s3cret", true),
            ("ann", "x", false),
            ("eve", "s3cret", false),
        ] {
            assert_eq!(users.verify(name, password).is_ok(), is_right, "{name}");
        }
    }

    #[test]
    fn a_file_without_users_is_refused() {
        let file = PasswordFile::with("empty", "# nobody\n");
        let refused = |path: PathBuf| {
            Basic::with_file(path, "admin".to_owned(), WEEK)
                .err()
                .unwrap()
        };
        assert!(refused(file.0.clone()).contains("contains no user"));
        assert!(refused("/nowhere".into()).contains("/nowhere: No such file"));
    }
}
