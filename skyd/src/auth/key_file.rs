//! Key file of the agents on this machine: a secret that only its owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Digest, SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::credentials;

/// Key that agents on this machine present instead of a password.
#[derive(Clone, Debug)]
pub(crate) struct KeyFile {
    /// SHA-256 of the key: comparing digests takes a time that reveals nothing about the key.
    digest: Digest,
}

impl KeyFile {
    /// Reads the key from a file; creates the file, readable by its owner only, if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the file cannot be created or read, is empty, or can be read by other
    /// users.
    pub(crate) fn open_or_create(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        match create(path) {
            Ok(()) => tracing::info!("created the key file of local agents: {shown}"),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot create {shown}")),
        }
        let mut file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
        if file.metadata()?.mode() & 0o077 != 0 {
            bail!("{shown} is accessible to other users: delete it, or run chmod 600 {shown}");
        }
        let mut text = String::new();
        let read = Read::by_ref(&mut file)
            .take(MAX_BYTES)
            .read_to_string(&mut text);
        read.with_context(|| format!("cannot read {shown}"))?;
        match text.trim() {
            key if key.len() >= MIN_LENGTH => Ok(Self::new(key)),
            _ => bail!(
                "{shown} contains no key: delete it to have a new one created at the next start"
            ),
        }
    }

    fn new(key: &str) -> Self {
        Self {
            digest: digest(&SHA256, key.as_bytes()),
        }
    }

    /// Returns whether credentials contain the key: as a token, or as the password of any user.
    pub(crate) fn matches(&self, credentials: &str) -> bool {
        let secret = credentials::secret(credentials);
        let is_key = |text: &[u8]| digest(&SHA256, text).as_ref() == self.digest.as_ref();
        is_key(secret.as_bytes())
            || STANDARD.decode(secret).is_ok_and(|pair| {
                let colon = pair.iter().position(|byte| *byte == b':');
                colon.is_some_and(|colon| is_key(&pair[colon + 1..]))
            })
    }
}

/// Creates the file with a new random key.
fn create(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    let written = filled
        .map_err(|_| std::io::Error::other("the operating system provides no random bytes"))
        .and_then(|()| {
            let key: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            file.write_all(format!("{key}\n").as_bytes())?;
            file.sync_all()
        });
    if written.is_err() {
        // An empty file would make every later start fail.
        drop(fs::remove_file(path));
    }
    written
}

/// Minimum length of a key, in bytes.
const MIN_LENGTH: usize = 16;
/// Maximum number of bytes that are read from the file.
const MAX_BYTES: u64 = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_created_once_and_protected() {
        let folder = std::env::temp_dir().join(format!("skyd-key-{}", std::process::id()));
        let path = folder.join("data").join("agent.key");
        let first = KeyFile::open_or_create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let key = text.trim();
        assert_eq!(key.len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = KeyFile::open_or_create(&path).unwrap();
        for opened in [&first, &again] {
            assert!(opened.matches(key) && opened.matches(&format!("Bearer {key}")));
            let basic = STANDARD.encode(format!("agent:{key}"));
            assert!(opened.matches(&format!("Basic {basic}")));
            for wrong in ["", "Basic", "Bearer x", &key[1..], &STANDARD.encode(key)] {
                assert!(!opened.matches(wrong), "{wrong}");
            }
        }
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let error = KeyFile::open_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("is accessible to other users"), "{error}");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&path, "\n").unwrap();
        let error = KeyFile::open_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("contains no key"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
