//! The secrets of the process: how to log in, and the token that came of it. They never leave the adapter.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;
use reqwest::header::HeaderValue;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use super::login::Routes;
use crate::config::settings::Auth;
use crate::core::ids::Generation;

pub(super) struct Vault(Mutex<Held>);

struct Held {
    auth: Arc<Auth>,
    token: Option<Token>,
    /// The backend refused the token in use.
    refused: bool,
    refresh: Option<Arc<SecretString>>,
    routes: Routes,
}

/// A token, as the header that carries it: the one copy in memory, wiped when the last call with it has ended.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    pub(super) generation: Generation,
}

impl Token {
    /// The token itself, to keep it out of words.
    pub(super) fn secret(&self) -> Zeroizing<String> {
        let header = self.header.as_bytes();
        Zeroizing::new(String::from_utf8_lossy(header.get(BEARER.len()..).unwrap_or(header)).into_owned())
    }
}

const BEARER: &str = "Bearer ";

impl Vault {
    pub(super) fn new(auth: &Auth) -> Self {
        Self(Mutex::new(Held {
            auth: Arc::new(auth.clone()),
            token: None,
            refused: false,
            refresh: None,
            routes: Routes::default(),
        }))
    }

    pub(super) fn auth(&self) -> Arc<Auth> {
        self.with(|held| Arc::clone(&held.auth))
    }

    /// Other credentials. A refresh token belongs to the old ones, and so does what was learnt about the ways to log in.
    pub(super) fn replace(&self, auth: &Auth) {
        self.with(|held| {
            held.auth = Arc::new(auth.clone());
            held.refresh = None;
            held.routes = Routes::default();
        });
    }

    pub(super) fn token(&self) -> Option<Token> {
        self.with(|held| held.token.clone())
    }

    /// Uses a token from now on; a login that was overtaken by a newer one changes nothing. Says whether a header can carry it.
    pub(super) fn keep(&self, token: &str, refresh: Option<SecretString>, generation: Generation) -> bool {
        let Some(header) = secret_header(&format_secret(BEARER, token)) else {
            return false;
        };
        self.with(|held| {
            if held.token.as_ref().is_none_or(|current| current.generation <= generation) {
                held.token = Some(Token { header, generation });
                held.refused = false;
                held.refresh = refresh.map(Arc::new);
            }
        });
        true
    }

    /// The backend refused the token of this login.
    pub(super) fn refused(&self, generation: Generation) {
        self.with(|held| {
            if held.token.as_ref().is_some_and(|token| token.generation == generation) {
                held.refused = true;
            }
        });
    }

    /// Whether this very token is the one in use, and was refused.
    pub(super) fn is_refused(&self, token: &str) -> bool {
        self.with(|held| held.refused && held.token.as_ref().is_some_and(|held| *held.secret() == *token))
    }

    pub(super) fn refresh(&self) -> Option<Arc<SecretString>> {
        self.with(|held| held.refresh.clone())
    }

    /// The refresh token was refused: it is of no more use.
    pub(super) fn forget_refresh(&self, refused: &Arc<SecretString>) {
        self.with(|held| {
            if held.refresh.as_ref().is_some_and(|current| Arc::ptr_eq(current, refused)) {
                held.refresh = None;
            }
        });
    }

    pub(super) fn routes(&self) -> Routes {
        self.with(|held| held.routes)
    }

    pub(super) fn set_routes(&self, routes: Routes) {
        self.with(|held| held.routes = routes);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Held) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn format_secret(prefix: &str, secret: &str) -> SecretString {
    SecretString::from(format!("{prefix}{secret}"))
}

/// A header that is wiped from memory, is never indexed and never printed; `None` if no header can carry the text.
pub(super) fn secret_header(text: &SecretString) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_maybe_shared(secret_bytes(text.expose_secret().as_bytes())).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Bytes that are wiped once the last holder lets go.
pub(super) fn secret_bytes(bytes: &[u8]) -> Bytes {
    Bytes::from_owner(Zeroizing::new(bytes.to_vec()))
}
