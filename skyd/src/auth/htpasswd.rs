//! Stored passwords: clear text, or the hashes of Apache's `htpasswd`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use ring::digest;
use subtle::ConstantTimeEq;

/// Stored password of a user; compared in constant time.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoredPassword {
    /// Clear text.
    Clear(String),
    /// bcrypt hash, `$2y$…`, and its cost.
    Bcrypt(String, u32),
    /// MD5-crypt hash, `$apr1$…` or `$1$…`.
    Md5 {
        /// Prefix with both dollar signs.
        magic: &'static str,
        /// Salt of at most eight characters.
        salt: String,
        /// Hash: the 22 characters after the salt.
        hash: String,
    },
    /// SHA-1 digest, `{SHA}…`.
    Sha1(Vec<u8>),
}

impl StoredPassword {
    /// Parses the part of a line after the colon.
    ///
    /// # Errors
    /// Returns an error if the hash is invalid or of an unsupported type. The error message does
    /// not quote the hash.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        for magic in ["$apr1$", "$1$"] {
            let Some(rest) = text.strip_prefix(magic) else {
                continue;
            };
            return match rest.split_once('$') {
                Some((salt, hash)) if hash.len() == 22 => Ok(Self::Md5 {
                    magic,
                    salt: salt.chars().take(8).collect(),
                    hash: hash.to_owned(),
                }),
                _ => Err(format!("invalid {magic} hash")),
            };
        }
        if let Some(hash) = text.strip_prefix("{SHA}") {
            return match STANDARD.decode(hash) {
                Ok(hash) if hash.len() == digest::SHA1_OUTPUT_LEN => Ok(Self::Sha1(hash)),
                _ => Err("invalid {SHA} hash".to_owned()),
            };
        }
        if ["$2a$", "$2b$", "$2x$", "$2y$"]
            .iter()
            .any(|magic| text.starts_with(magic))
        {
            let parts: bcrypt::HashParts =
                text.parse().map_err(|_| "invalid bcrypt hash".to_owned())?;
            let cost = parts.get_cost();
            return match cost {
                4..=MAX_COST => Ok(Self::Bcrypt(text.to_owned(), cost)),
                _ => Err(format!(
                    "bcrypt cost {cost} is not allowed; expected 4 to {MAX_COST}"
                )),
            };
        }
        Err("unsupported hash; expected bcrypt, apr1, or {SHA} (htpasswd -B, -m, -s)".to_owned())
    }

    /// Returns whether this is the password. Takes up to several seconds, depending on the cost of
    /// the hash.
    pub(crate) fn verify(&self, password: &str) -> bool {
        match self {
            Self::Clear(clear) => is_same(clear.as_bytes(), password.as_bytes()),
            Self::Bcrypt(hash, _) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Md5 { magic, salt, hash } => {
                let made = md5_crypt(password.as_bytes(), salt.as_bytes(), magic.as_bytes());
                is_same(hash.as_bytes(), made.as_bytes())
            }
            Self::Sha1(hash) => {
                let algorithm = &digest::SHA1_FOR_LEGACY_USE_ONLY;
                is_same(
                    hash,
                    digest::digest(algorithm, password.as_bytes()).as_ref(),
                )
            }
        }
    }

    /// Returns the cost of a check: 0 if it is negligible, 1 for MD5-crypt, or the cost of the
    /// bcrypt hash.
    pub(crate) fn cost(&self) -> u32 {
        match self {
            Self::Clear(_) | Self::Sha1(_) => 0,
            Self::Md5 { .. } => 1,
            Self::Bcrypt(_, cost) => *cost,
        }
    }

    /// Returns a hash with the given cost that matches no password.
    pub(crate) fn never_matching(cost: u32) -> Self {
        match cost {
            0 => Self::Sha1(vec![0; digest::SHA1_OUTPUT_LEN]),
            1..4 => Self::Md5 {
                magic: "$apr1$",
                salt: "nobody..".to_owned(),
                hash: "-".repeat(22),
            },
            // The last character of a salt carries only two bits; a dot is valid there.
            cost => Self::Bcrypt(
                format!("$2y${cost:02}$......................{}", ".".repeat(31)),
                cost,
            ),
        }
    }
}

/// Returns whether two secrets are equal, in a time that reveals nothing about them.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    // Digests have the same length for all secrets, so the length is not revealed either.
    let digest = |bytes| digest::digest(&digest::SHA256, bytes);
    digest(one).as_ref().ct_eq(digest(other).as_ref()).into()
}

/// Parses an `htpasswd` file. If a user has several lines, the last one takes precedence.
///
/// # Errors
/// Returns an error if a line is invalid; the error message contains the line number and the
/// reason.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, StoredPassword)>, String> {
    let mut users: Vec<(String, StoredPassword)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let (name, stored) = line
            .split_once(':')
            .ok_or_else(|| format!("line {number}: expected user:hash"))?;
        let stored =
            StoredPassword::parse(stored).map_err(|why| format!("line {number}: {name}: {why}"))?;
        users.retain(|(known, _)| known != name);
        users.push((name.to_owned(), stored));
    }
    Ok(users)
}

/// Computes MD5-crypt (Poul-Henning Kamp); Apache's variant differs only in `magic`.
fn md5_crypt(password: &[u8], salt: &[u8], magic: &[u8]) -> String {
    let mut hash = Md5::new();
    for part in [password, salt, password] {
        hash.update(part);
    }
    let inner = hash.finalize();
    let mut hash = Md5::new();
    for part in [password, magic, salt] {
        hash.update(part);
    }
    for block in password.chunks(inner.len()) {
        hash.update(&inner[..block.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        let byte = if bits & 1 == 1 { 0 } else { password[0] };
        hash.update([byte]);
        bits >>= 1;
    }
    let mut state = hash.finalize();
    for round in 0..1000 {
        let mut hash = Md5::new();
        let (first, last): (&[u8], &[u8]) = if round % 2 == 1 {
            (password, &state)
        } else {
            (&state, password)
        };
        hash.update(first);
        if round % 3 != 0 {
            hash.update(salt);
        }
        if round % 7 != 0 {
            hash.update(password);
        }
        hash.update(last);
        state = hash.finalize();
    }
    let mut text = String::with_capacity(22);
    let mut letters = |high: u8, middle: u8, low: u8, count: usize| {
        let mut bits = u32::from(high) << 16 | u32::from(middle) << 8 | u32::from(low);
        for _ in 0..count {
            text.push(char::from(LETTERS[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    for [high, middle, low] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        letters(state[high], state[middle], state[low], 4);
    }
    letters(0, 0, state[11], 2);
    text
}

/// Alphabet of the Base64 variant of crypt(3).
const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Maximum accepted cost of bcrypt, at which a check already takes several seconds.
const MAX_COST: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `htpasswd -nb` and `-B`, `-m`, `-s`, and with `openssl passwd -1`.
    #[test]
    fn hashes_of_htpasswd_and_openssl_are_verified() {
        let long = "x".repeat(100);
        for (password, hashes) in [
            (
                "s3cret",
                [
                    "$2y$05$ViShHRlUaPXnRxu3Llz05.vnQYmJcmVjmrVaBJSyCKC63ngGMuWHK",
                    "$apr1$XBY1OgR2$8pftPwFC1VuxG6rbaBdE7.",
                    "{SHA}/vNB+F2HQ559kaLUZbmHHvZrXpg=",
                    "$1$abcdefgh$7.vq19w/w3Vm.hk1FOA7Q/",
                ],
            ),
            (
                "pässwörd with blanks: and colon",
                [
                    "$2y$05$yJDL.av7Gxli1hLRQC96S.4TlDidUanEnmkJi7.XqybPZfLbi35PC",
                    "$apr1$M9eM1QsW$gWKutV3RovG9qc6U3Y0eP0",
                    "{SHA}CHBtiggMa4vtFDZzgH3U5nGEgpY=",
                    "$1$abcdefgh$MdMGMNPHAQfoHhqVtcoQa0",
                ],
            ),
            (
                &long,
                [
                    "$2y$05$mGqiBr8WRlzg8haE5yDIE.tm2iBXe1uG1caq90apegHQhDABUKfau",
                    "$apr1$q3UrzhaP$JwtX95G8yCiS9T6TCZTJ3/",
                    "{SHA}UOSDaQ7EgfSvf2+1JLK5nrFxZWU=",
                    "$1$abcdefgh$ax3Kvr/hbxTbyc0QiTLcg/",
                ],
            ),
        ] {
            for hash in hashes {
                let stored = StoredPassword::parse(hash).unwrap();
                assert!(stored.verify(password), "{hash}");
                for wrong in ["", "S3cret", "s3cret ", "s3cre", hash] {
                    assert!(!stored.verify(wrong), "{hash} {wrong}");
                }
            }
        }
        let empty = "$apr1$eJVa2s5J$.m4rFHNkrLUzbt0.4HWgh0";
        assert!(StoredPassword::parse(empty).unwrap().verify(""));
    }

    #[test]
    fn a_file_has_users_comments_and_later_lines_that_win() {
        let text = "# ours\n\nann:{SHA}/vNB+F2HQ559kaLUZbmHHvZrXpg=\r\n bob:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n\
                    ann:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n";
        let users = parse(text).unwrap();
        let names: Vec<&str> = users.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["bob", "ann"]);
        assert!(users[1].1.verify("") && !users[1].1.verify("s3cret"));
    }

    #[test]
    fn other_hashes_are_refused_without_showing_them() {
        for (line, wanted) in [
            (
                "ann:hunter2",
                "line 1: ann: unsupported hash; expected bcrypt, apr1, or {SHA}",
            ),
            ("ann:$6$K2Su43zLgNhcSdWe$8J7TiLPrRKDDK", "unsupported hash"),
            ("ann:4Uyn.XX2JpP7I", "unsupported hash"),
            ("ann:{SHA}x", "invalid {SHA} hash"),
            ("ann:$apr1$salt", "invalid $apr1$ hash"),
            ("ann:$2y$05$short", "invalid bcrypt hash"),
            (
                "ann:$2y$31$ViShHRlUaPXnRxu3Llz05.vnQYmJcmVjmrVaBJSyCKC63ngGMuWHK",
                "bcrypt cost 31",
            ),
            ("hunter2", "line 1: expected user:hash"),
        ] {
            let error = parse(line).err().unwrap();
            assert!(error.contains(wanted), "{line}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_never_matching_hash_matches_nothing_at_any_cost() {
        for cost in [0, 1, 4, 5] {
            let hash = StoredPassword::never_matching(cost);
            assert_eq!(hash.cost(), cost);
            assert!(!hash.verify("") && !hash.verify("nobody"));
        }
        // As slow as a real hash: it is computed, not rejected because of its form.
        let StoredPassword::Bcrypt(hash, _) = StoredPassword::never_matching(5) else {
            panic!("bcrypt expected");
        };
        assert!(!bcrypt::verify("x", &hash).unwrap());
    }
}
