//! What outlives the process of its logins: when they were tried, and the token in use (design.md section 8, "Restart").
//!
//! One small file of mode 0600 in the state directory, replaced as a whole, beside the store's log: it is a memory that may be
//! lost at any time, at the price of one login. Its one reader and writer is the process that has the store's lock.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use secrecy::zeroize::{Zeroize as _, Zeroizing};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::config::settings::{Auth, Environment};
use crate::core::auth::PAST_ATTEMPTS;
use crate::wire::reader;

/// The file's name in the state directory.
const NAME: &str = "login";
/// A longer file is not ours.
const SIZE_LIMIT: u64 = 64 * 1024;
/// A wall clock that went back further than this makes the age of a token unknown, and of an attempt: neither is used.
const CLOCK_SLACK: i64 = 60_000;

/// The file and what is in it.
pub(super) struct Keepsake {
    path: PathBuf,
    /// Whose token it is: an environment and a client. A token of another one is never used.
    owner: String,
    kept: Mutex<Kept>,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    v: u32,
    /// Milliseconds of the wall clock, oldest first.
    #[serde(default)]
    attempts: Vec<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<KeptToken>,
}

#[derive(Clone, Serialize, Deserialize)]
struct KeptToken {
    owner: String,
    access: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh: Option<String>,
    /// When it came, in milliseconds of the wall clock.
    since: i64,
    /// Milliseconds, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifetime: Option<u64>,
}

impl Drop for KeptToken {
    fn drop(&mut self) {
        self.access.zeroize();
        self.refresh.zeroize();
    }
}

/// A token that was kept and is not over yet.
pub(super) struct Found {
    pub(super) access: SecretString,
    pub(super) refresh: Option<SecretString>,
    /// What is left of its life, if that is known.
    pub(super) left: Option<Duration>,
}

const VERSION: u32 = 1;

impl Keepsake {
    /// Reads the file of a state directory. One that cannot be read or understood is as good as none.
    pub(super) fn open(dir: &Path, environment: &Environment, auth: &Auth) -> Self {
        let path = dir.join(NAME);
        let kept = match read(&path) {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the token of the last run cannot be read; logging in anew");
                Kept::default()
            }
        };
        Self { path, owner: owner(environment, auth), kept: Mutex::new(kept) }
    }

    /// How long ago logins were tried, oldest first. What a clock wrote that stood far ahead of ours is left out: it would look as if it
    /// had all been just now, and an agent that has done nothing wrong would wait a minute for its login.
    pub(super) fn attempts(&self) -> Vec<Duration> {
        let now = clock::wall().as_millisecond();
        let attempts = self.with(|kept| kept.attempts.clone());
        let ages = attempts.into_iter().map(|at| now - at).filter(|age| *age >= -CLOCK_SLACK);
        ages.map(|age| Duration::from_millis(u64::try_from(age).unwrap_or_default())).collect()
    }

    /// The token of the last run, if it is ours and not over.
    pub(super) fn token(&self) -> Option<Found> {
        let token = self.with(|kept| kept.token.clone()).filter(|token| token.owner == self.owner)?;
        let age = clock::wall().as_millisecond() - token.since;
        if age < -CLOCK_SLACK {
            return None;
        }
        let age = Duration::from_millis(u64::try_from(age).unwrap_or_default());
        let left = match token.lifetime {
            Some(lifetime) => Some(Duration::from_millis(lifetime).checked_sub(age).filter(|left| !left.is_zero())?),
            None => None,
        };
        let secret = |text: &String| SecretString::from(text.as_str());
        Some(Found { access: secret(&token.access), refresh: token.refresh.as_ref().map(secret), left })
    }

    /// A login begins. Written before it is sent, so that a crash in the middle counts too.
    pub(super) fn attempted(&self) {
        let now = clock::wall().as_millisecond();
        self.change(|kept| {
            kept.attempts.push(now);
            let surplus = kept.attempts.len().saturating_sub(PAST_ATTEMPTS);
            kept.attempts.drain(..surplus);
        });
    }

    /// A login has given a token.
    pub(super) fn succeeded(&self, access: &SecretString, refresh: Option<&SecretString>, lifetime: Option<Duration>) {
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        let token = KeptToken {
            owner: self.owner.clone(),
            access: text(access),
            refresh: refresh.map(text),
            since: clock::wall().as_millisecond(),
            lifetime: lifetime.map(|lifetime| u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)),
        };
        self.change(|kept| kept.token = Some(token));
    }

    /// This token was refused: it is of no use to the next run.
    pub(super) fn refused(&self, access: &str) {
        if self.with(|kept| kept.token.as_ref().is_some_and(|token| token.access == access)) {
            self.change(|kept| kept.token = None);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) {
        let written = self.with(|kept| {
            change(kept);
            kept.v = VERSION;
            write(&self.path, kept)
        });
        if let Err(error) = written {
            // Not worth a warning of its own: the store tells of a bad disk, and this costs one login.
            tracing::debug!(%error, path = %self.path.display(), "the token could not be kept for the next run");
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Keepsake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keepsake").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Who a token belongs to, in words that no other configuration has.
fn owner(environment: &Environment, auth: &Auth) -> String {
    match auth {
        Auth::ClientCredentials { client_id, .. } => format!("{} client_credentials {client_id}", environment.url),
        Auth::Basic { client_id, username, .. } => format!("{} basic {client_id} {username}", environment.url),
        Auth::AccessToken { .. } => format!("{} access_token", environment.url),
    }
}

fn read(path: &Path) -> io::Result<Kept> {
    let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nofollow).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Zeroizing::new(Vec::new());
    file.take(SIZE_LIMIT).read_to_end(&mut text)?;
    let kept: Kept = reader::document(&text)?;
    if kept.v == VERSION { Ok(kept) } else { Err(io::Error::other("it is of another version")) }
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let text = Zeroizing::new(serde_json::to_vec(kept)?);
    let new = path.with_extension("new");
    // One of a crash may be left; it is ours, and never a link that somebody could have put there.
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&text)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::{Secret, SecretOrigin};

    fn environment(url: &str) -> Environment {
        Environment { url: url.to_owned(), ca_file: None, connect_timeout: Duration::from_secs(5), http2: true }
    }

    fn auth(client: &str) -> Auth {
        let client_secret = Secret::new("hush".to_owned(), SecretOrigin::Value);
        Auth::ClientCredentials { client_id: client.to_owned(), client_secret }
    }

    fn open(dir: &Path) -> Keepsake {
        Keepsake::open(dir, &environment("https://a.example"), &auth("me"))
    }

    #[test]
    fn a_token_and_the_attempts_are_found_again_by_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let keepsake = open(dir.path());
        assert!(keepsake.token().is_none() && keepsake.attempts().is_empty());
        keepsake.attempted();
        keepsake.succeeded(&SecretString::from("tok"), None, Some(Duration::from_secs(100)));
        let found = open(dir.path()).token().unwrap();
        assert_eq!(found.access.expose_secret(), "tok");
        assert!(found.left.unwrap() > Duration::from_secs(90));
        assert_eq!(open(dir.path()).attempts().len(), 1);
        for other in [
            Keepsake::open(dir.path(), &environment("https://b.example"), &auth("me")),
            Keepsake::open(dir.path(), &environment("https://a.example"), &auth("you")),
        ] {
            assert!(other.token().is_none(), "a token goes only where it came from");
            assert_eq!(other.attempts().len(), 1);
        }
        keepsake.refused("another");
        assert!(open(dir.path()).token().is_some());
        keepsake.refused("tok");
        assert!(open(dir.path()).token().is_none());
    }

    #[test]
    fn attempts_of_a_clock_that_stood_ahead_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let now = clock::wall().as_millisecond();
        let (hour, second) = (3_600_000, 1000);
        let attempts = [now - hour, now + hour, now - second, now + second, now + 24 * hour];
        fs::write(dir.path().join(NAME), serde_json::json!({"v": 1, "attempts": attempts}).to_string()).unwrap();
        let ages = open(dir.path()).attempts();
        assert_eq!(ages.len(), 3, "{ages:?}");
        assert!(ages[0] >= Duration::from_secs(3600) && ages[1] >= Duration::from_secs(1), "{ages:?}");
        assert_eq!(ages[2], Duration::ZERO, "a second is only a clock that was set");
    }

    #[test]
    fn the_file_is_for_us_alone_and_is_replaced_as_a_whole() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("login.new"), "left by a crash").unwrap();
        open(dir.path()).succeeded(&SecretString::from("tok"), None, None);
        let mode = fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!dir.path().join("login.new").exists());
    }

    #[test]
    fn a_damaged_or_foreign_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{", "[]", "{\"v\":2}", "\u{0}\u{1}", "{\"v\":1,\"attempts\":[\"x\"]}"] {
            fs::write(dir.path().join(NAME), text).unwrap();
            let keepsake = open(dir.path());
            assert!(keepsake.token().is_none() && keepsake.attempts().is_empty(), "{text:?}");
        }
        fs::remove_file(dir.path().join(NAME)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join(NAME)).unwrap();
        assert!(open(dir.path()).attempts().is_empty());
    }

    #[test]
    fn a_token_whose_life_is_over_or_unknown_by_a_clock_that_went_back_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let keepsake = open(dir.path());
        for (since, lifetime) in [(-200_000, 100_000), (3_600_000, 100_000)] {
            let now = clock::wall().as_millisecond();
            keepsake.succeeded(&SecretString::from("tok"), None, None);
            keepsake.change(|kept| {
                if let Some(token) = &mut kept.token {
                    (token.since, token.lifetime) = (now + since, Some(lifetime));
                }
            });
            assert!(open(dir.path()).token().is_none(), "{since}");
        }
    }
}
