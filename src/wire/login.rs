//! The login: its requests, and the token in its answer (backend.md, table of calls and trap 2).

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD_INDIFFERENT};
use jiff::Timestamp;
use secrecy::zeroize::Zeroizing;
use secrecy::{SecretSlice, SecretString};
use serde::{Deserialize, Serialize};

use super::json::{self, Loose, Unreadable};
use super::{Reply, failure, request};
use crate::core::call::Failure;

/// POST here with HTTP Basic for client credentials.
pub const TOKEN_PATH: &str = "/users/v2/oauth/token";
/// POST here for everything else.
pub const LOGIN_PATH: &str = "/users/v1/login";
/// The longest lifetime that is believed. It only bounds arithmetic: a refusal ends a token at any time.
const LIFETIME_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is shown to the backend beside the client's own id and secret.
#[derive(Clone, Copy)]
pub enum Grant<'a> {
    /// Nothing, at [`TOKEN_PATH`].
    ClientCredentials,
    /// Nothing, at [`LOGIN_PATH`]: for environments without the former, and the way of the public server client.
    ClientCredentialsV1,
    /// A user.
    Basic {
        /// Its name.
        username: &'a str,
        /// Its password.
        password: &'a str,
    },
    /// The refresh token of an earlier login.
    Refresh {
        /// The refresh token.
        token: &'a str,
    },
}

impl fmt::Debug for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientCredentials => "ClientCredentials",
            Self::ClientCredentialsV1 => "ClientCredentialsV1",
            Self::Basic { .. } => "Basic([redacted])",
            Self::Refresh { .. } => "Refresh([redacted])",
        })
    }
}

/// The POST of a login.
#[derive(Debug)]
pub struct LoginRequest {
    /// Where to.
    pub path: &'static str,
    /// The header `Authorization`.
    pub authorization: SecretString,
    /// JSON.
    pub body: SecretSlice<u8>,
}

/// What a login gave.
#[derive(Debug)]
pub struct Token {
    /// Never empty, and visible ASCII only: it fits into a header.
    pub access: SecretString,
    /// The refresh token, if one came.
    pub refresh: Option<SecretString>,
    /// See [`crate::core::call::LoggedIn::lifetime`].
    pub lifetime: Option<Duration>,
}

/// The request of a login.
pub fn encode(client_id: &str, client_secret: &str, grant: Grant<'_>) -> LoginRequest {
    let pair = Zeroizing::new(format!("{client_id}:{client_secret}"));
    let authorization = SecretString::from(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let (path, body) = match grant {
        Grant::ClientCredentials => (TOKEN_PATH, request::json(&Short { grant_type: "client_credentials" })),
        Grant::ClientCredentialsV1 => {
            (LOGIN_PATH, request::json(&Client { grant_type: "client_credentials", include_refresh: true }))
        }
        Grant::Basic { username, password } => {
            let pair = Zeroizing::new(format!("{username}:{password}"));
            (LOGIN_PATH, request::json(&Full::new("basic", &pair)))
        }
        Grant::Refresh { token } => (LOGIN_PATH, request::json(&Full::new("refresh", token))),
    };
    LoginRequest { path, authorization, body: SecretSlice::from(body) }
}

/// Reads the reply to a login.
///
/// # Errors
/// Everything that is not a success with a token in it: an empty token is none (backend.md, trap 2).
pub fn decode(reply: &Reply<'_>, wall: Timestamp) -> Result<Token, Failure> {
    match reply.status {
        200..=299 => token(reply.body).map_err(|why| failure::malformed(reply, wall, &why)),
        _ => Err(failure::refused(reply, wall)),
    }
}

/// How long an access token lives by its own account: `exp` minus `iat` of a JWT. The wall clock is not asked.
pub fn jwt_lifetime(token: &str) -> Option<Duration> {
    let mut parts = token.split('.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = Zeroizing::new(URL_SAFE_NO_PAD_INDIFFERENT.decode(claims).ok()?);
    let claims: Claims = json::object(&claims).ok()?;
    lifetime(claims.exp.number()? - claims.iat.number()?)
}

/// Whether a token can stand in a header.
pub fn is_sendable(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

fn token(body: &[u8]) -> Result<Token, Unreadable> {
    let answer: AnswerDto = json::object(body)?;
    let access = answer.access_token.text().map(Zeroizing::new).ok_or(Unreadable::Missing("access_token"))?;
    let access = access.trim();
    if access.is_empty() {
        return Err(Unreadable::Missing("access_token"));
    }
    if !is_sendable(access) {
        return Err(Unreadable::Token);
    }
    Ok(Token {
        access: SecretString::from(access),
        refresh: answer.refresh_token.text().map(SecretString::from),
        lifetime: answer.expires_in.number().and_then(lifetime).or_else(|| jwt_lifetime(access)),
    })
}

/// Seconds, if they are a time that a token could live.
fn lifetime(seconds: f64) -> Option<Duration> {
    (seconds >= 1.0)
        .then(|| Duration::try_from_secs_f64(seconds).map_or(LIFETIME_LIMIT, |life| life.min(LIFETIME_LIMIT)))
}

#[derive(Serialize)]
struct Short<'a> {
    grant_type: &'a str,
}

#[derive(Serialize)]
struct Client<'a> {
    grant_type: &'a str,
    include_refresh: bool,
}

#[derive(Serialize)]
struct Full<'a> {
    grant_type: &'a str,
    portal_access_token: &'a str,
    include_refresh: bool,
    accept_eula: bool,
    accept_tos: bool,
    accept_privacy_policy: bool,
}

impl<'a> Full<'a> {
    fn new(grant_type: &'a str, portal_access_token: &'a str) -> Self {
        Self {
            grant_type,
            portal_access_token,
            include_refresh: true,
            accept_eula: true,
            accept_tos: true,
            accept_privacy_policy: true,
        }
    }
}

#[derive(Deserialize)]
struct AnswerDto {
    #[serde(default)]
    access_token: Loose,
    #[serde(default)]
    refresh_token: Loose,
    #[serde(default)]
    expires_in: Loose,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    exp: Loose,
    #[serde(default)]
    iat: Loose,
}
