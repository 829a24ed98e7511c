//! `[auth]`: which grant, and where each secret comes from.
//!
//! A secret is taken from the first of: a systemd credential, a `*_file` key, the environment, a configuration file. A
//! credential beats the rest, with a warning; a file and a value for the same secret are a mistake, because nobody can tell
//! which of them is the stale one.

use std::path::PathBuf;

use super::{Checker, places, values};
use crate::config::files::{FileError, named};
use crate::config::secret::{self, Secret, SecretOrigin};
use crate::config::settings::Auth;

/// What `merged` shows in place of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// A secret's key, its file key and its systemd credential.
struct Sources {
    /// Absent where the secret is taken from files only.
    key: Option<&'static str>,
    file_key: &'static str,
    credential: &'static str,
}

const CLIENT_SECRET: Sources =
    Sources { key: Some("auth.client_secret"), file_key: "auth.client_secret_file", credential: "client-secret" };
const PASSWORD: Sources =
    Sources { key: Some("auth.password"), file_key: "auth.password_file", credential: "password" };
const ACCESS_TOKEN: Sources = Sources { key: None, file_key: "auth.access_token_file", credential: "access-token" };

#[derive(Clone, Copy)]
enum Grant {
    ClientCredentials,
    Basic,
    AccessToken,
}

/// What each grant uses; everything else that is set in `[auth]` gets a warning.
const USED: [(Grant, &str, &[&str]); 3] = [
    (
        Grant::ClientCredentials,
        "client_credentials",
        &["auth.client_id", "auth.client_secret", "auth.client_secret_file"],
    ),
    (
        Grant::Basic,
        "basic",
        &[
            "auth.client_id",
            "auth.client_secret",
            "auth.client_secret_file",
            "auth.username",
            "auth.password",
            "auth.password_file",
        ],
    ),
    (Grant::AccessToken, "access_token", &["auth.access_token_file"]),
];

impl Checker<'_> {
    /// `auth.*`
    pub(super) fn auth(&mut self) -> Option<Auth> {
        let auth = &self.raw.auth;
        let words: Vec<(&str, usize)> = USED.iter().enumerate().map(|(index, (_, word, _))| (*word, index)).collect();
        // The texts of this section are not shown: what stands at the wrong key may be a secret.
        let index = self.check("auth.grant", values::word(&auth.grant, &words))?;
        let (grant, word, used) = USED.get(index)?;
        for (key, value) in [
            ("auth.client_id", &auth.client_id),
            ("auth.client_secret", &auth.client_secret),
            ("auth.client_secret_file", &auth.client_secret_file),
            ("auth.username", &auth.username),
            ("auth.password", &auth.password),
            ("auth.password_file", &auth.password_file),
            ("auth.access_token_file", &auth.access_token_file),
        ] {
            if !used.contains(&key) && !value.is_empty() {
                self.warn(key, &format!("has no effect: grant \"{word}\" does not use it"));
            }
        }
        match grant {
            Grant::ClientCredentials => {
                let (client_id, client_secret) = self.client(word);
                Some(Auth::ClientCredentials { client_id: client_id?, client_secret: client_secret? })
            }
            Grant::Basic => {
                let (client_id, client_secret) = self.client(word);
                let username = self.name("auth.username", &auth.username, word);
                let password = self.secret(&PASSWORD, &auth.password_file, word);
                Some(Auth::Basic {
                    client_id: client_id?,
                    client_secret: client_secret?,
                    username: username?,
                    password: password?,
                })
            }
            Grant::AccessToken => {
                let token = self.secret(&ACCESS_TOKEN, &auth.access_token_file, word)?;
                let origin = match token.origin() {
                    SecretOrigin::Credential(path) | SecretOrigin::File(path) => Some(path.clone()),
                    SecretOrigin::Value => None,
                };
                let token = self.header_safe("auth.access_token_file", token, origin)?;
                Some(Auth::AccessToken { token })
            }
        }
    }

    fn client(&mut self, grant: &str) -> (Option<String>, Option<Secret>) {
        let auth = &self.raw.auth;
        let id = self.name("auth.client_id", &auth.client_id, grant);
        (id, self.secret(&CLIENT_SECRET, &auth.client_secret_file, grant))
    }

    /// A name that is sent before a colon and a secret, so that it cannot have one itself (RFC 7617).
    fn name(&mut self, key: &'static str, text: &str, grant: &str) -> Option<String> {
        if text.is_empty() {
            self.missing(key, &[], &format!("is required for grant \"{grant}\""));
            return None;
        }
        let checked = values::line(text, 1024)
            .and_then(|name| if name.contains(':') { Err("must not have a colon in it".to_owned()) } else { Ok(name) });
        self.check(key, checked)
    }

    fn secret(&mut self, sources: &Sources, file: &str, grant: &str) -> Option<Secret> {
        let value = sources.key.and_then(|key| self.secrets.get(key)).filter(|value| !value.value.is_empty());
        let key = sources.key.unwrap_or(sources.file_key);
        if let Some(path) = places::credential(self.surroundings, sources.credential) {
            for ignored in [value.map(|_| key), (!file.is_empty()).then_some(sources.file_key)].into_iter().flatten() {
                self.warn(ignored, &format!("has no effect: the systemd credential {} comes first", named(&path)));
            }
            return match secret::read(&path) {
                Ok(content) => Some(Secret::new(content.text, SecretOrigin::Credential(path))),
                Err(error) => {
                    self.refuse_at(key, Some("systemd credential".to_owned()), error.told());
                    None
                }
            };
        }
        match (value, file.is_empty()) {
            (Some(_), false) => {
                let other = self.place(sources.file_key).unwrap_or_default();
                self.refuse(key, format!("is set, and so is {} ({other}); keep one of them", sources.file_key));
                None
            }
            (None, false) => self.secret_file(sources.file_key, PathBuf::from(file)),
            (Some(value), true) => {
                if value.value == REDACTED {
                    self.refuse(key, "is what `check` prints in place of a secret, not a secret".to_owned());
                    None
                } else if value.value.chars().any(char::is_control) {
                    self.refuse(key, "has a line break or another control character".to_owned());
                    None
                } else {
                    Some(Secret::new(value.value.clone(), SecretOrigin::Value))
                }
            }
            (None, true) => {
                let credential = sources.credential;
                self.missing(
                    key,
                    &[sources.file_key],
                    &format!(
                        "is required for grant \"{grant}\": give the systemd credential \"{credential}\" or set {}",
                        sources.file_key
                    ),
                );
                None
            }
        }
    }

    /// A secret from the file that a `*_file` key names.
    pub(super) fn secret_file(&mut self, key: &'static str, path: PathBuf) -> Option<Secret> {
        let content = self.check(key, secret::read(&path).map_err(|error: FileError| error.told()))?;
        if content.world_readable {
            self.warn(
                key,
                &format!("every user of this host can read {}; take the right away (chmod o-r)", named(&path)),
            );
        }
        Some(Secret::new(content.text, SecretOrigin::File(path)))
    }

    /// A token goes into a header as it is, so only visible ASCII can be in it.
    pub(super) fn header_safe(&mut self, key: &'static str, token: Secret, path: Option<PathBuf>) -> Option<Secret> {
        if token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(token);
        }
        let file = path.map(|path| named(&path)).unwrap_or_default();
        self.refuse(key, format!("{file} has a space or another character that no token has"));
        None
    }
}
