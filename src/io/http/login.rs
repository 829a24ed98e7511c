//! The ways to a token (design.md section 5).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use super::Shared;
use super::exchange::{self, Outbound};
use super::keepsake::Keepsake;
use super::vault::{secret_bytes, secret_header};
use crate::clock;
use crate::config::secret::{Secret, SecretOrigin};
use crate::config::settings::Auth;
use crate::core::call::{Failure, FailureKind, LoggedIn, Login};
use crate::core::ids::Generation;
use crate::wire;
use crate::wire::login::{Grant, Token};

/// How long a login waits for its own notes to be written.
const DISK_PATIENCE: Duration = Duration::from_secs(1);
/// The largest token file that is read.
const TOKEN_FILE_LIMIT: u64 = 64 * 1024;

/// The two places where client credentials may be taken, and what was learnt about the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Routes {
    /// POST /users/v2/oauth/token; nothing is known of /users/v1/login.
    #[default]
    Token,
    /// The former refused us; the next login tries /users/v1/login, once.
    TryLogin,
    /// /users/v1/login is the one that speaks to us.
    Login,
    /// POST /users/v2/oauth/token, and /users/v1/login was tried in vain.
    TokenOnly,
}

impl Shared {
    pub(super) async fn login(&self, login: Login, generation: Generation) -> Result<LoggedIn, Failure> {
        self.keep(Keepsake::attempted).await;
        let auth = self.vault.auth();
        let refresh = match login {
            Login::Fresh => None,
            Login::Refresh => self.vault.refresh(),
        };
        let token = match (&*auth, refresh) {
            (Auth::AccessToken { token }, _) => self.token_of(token).await?,
            (
                Auth::ClientCredentials { client_id, client_secret } | Auth::Basic { client_id, client_secret, .. },
                Some(refresh),
            ) => {
                let grant = Grant::Refresh { token: refresh.expose_secret() };
                let answer = self.post(client_id, client_secret, grant).await;
                if answer.as_ref().is_err_and(is_refusal) {
                    self.vault.forget_refresh(&refresh);
                }
                answer?
            }
            (Auth::ClientCredentials { client_id, client_secret }, None) => {
                self.client_credentials(client_id, client_secret).await?
            }
            (Auth::Basic { client_id, client_secret, username, password }, None) => {
                self.post(client_id, client_secret, Grant::Basic { username, password: password.expose() }).await?
            }
        };
        let logged_in = LoggedIn { lifetime: token.lifetime, can_refresh: token.refresh.is_some() };
        if !self.vault.keep(token.access.expose_secret(), token.refresh.clone(), generation) {
            return Err(Failure::local(FailureKind::Malformed, "the token cannot be sent in a header"));
        }
        if !matches!(&*auth, Auth::AccessToken { .. }) {
            self.keep(move |keepsake| {
                keepsake.succeeded(&token.access, token.refresh.as_ref(), token.lifetime);
            })
            .await;
        }
        Ok(logged_in)
    }

    /// Writes something down for the next run, on a thread that may block, and not for longer than a disk should take: a
    /// login never waits for a bad disk.
    async fn keep(&self, work: impl FnOnce(&Keepsake) + Send + 'static) {
        let Some(keepsake) = self.keepsake.clone() else { return };
        let written = tokio::task::spawn_blocking(move || work(&keepsake));
        tokio::select! {
            _ = written => {}
            () = clock::sleep(DISK_PATIENCE) => {}
        }
    }

    /// Client credentials go to one of two places. Where the first is gone, the other is asked in the same breath; where it refuses
    /// them, the other gets one try with the next login, so that a refusal never costs more than one request at a time.
    async fn client_credentials(&self, id: &str, secret: &Secret) -> Result<Token, Failure> {
        let learn = |routes| self.vault.set_routes(routes);
        let routes = self.vault.routes();
        match routes {
            Routes::Token | Routes::TokenOnly => {
                let failure = match self.post(id, secret, Grant::ClientCredentials).await {
                    Ok(token) => return Ok(token),
                    Err(failure) => failure,
                };
                if !is_gone(&failure) {
                    if routes == Routes::Token && is_refusal(&failure) {
                        learn(Routes::TryLogin);
                    }
                    return Err(failure);
                }
                match self.post(id, secret, Grant::ClientCredentialsV1).await {
                    Ok(token) => {
                        learn(Routes::Login);
                        Ok(token)
                    }
                    // Neither place knows such a request; the first one's words are the ones to show.
                    Err(other) if is_foreign(&other) => Err(failure),
                    Err(other) => {
                        if is_refusal(&other) {
                            learn(Routes::Login);
                        }
                        Err(other)
                    }
                }
            }
            Routes::TryLogin | Routes::Login => {
                let failure = match self.post(id, secret, Grant::ClientCredentialsV1).await {
                    Ok(token) => {
                        learn(Routes::Login);
                        return Ok(token);
                    }
                    Err(failure) => failure,
                };
                if is_foreign(&failure) {
                    learn(if routes == Routes::Login { Routes::Token } else { Routes::TokenOnly });
                    return self.post(id, secret, Grant::ClientCredentials).await;
                }
                if routes == Routes::TryLogin && is_refusal(&failure) {
                    learn(Routes::TokenOnly);
                }
                Err(failure)
            }
        }
    }

    /// One request.
    async fn post(&self, client_id: &str, client_secret: &Secret, grant: Grant<'_>) -> Result<Token, Failure> {
        let begun = clock::now();
        let answer = self.post_uncounted(client_id, client_secret.expose(), grant).await;
        self.requests.asked_to_log_in(&answer, clock::now().saturating_duration_since(begun));
        answer
    }

    async fn post_uncounted(&self, client_id: &str, client_secret: &str, grant: Grant<'_>) -> Result<Token, Failure> {
        let request = wire::login::encode(client_id, client_secret, grant);
        let placed = |failure: Failure| {
            let detail = format!("POST {}: {}", request.path, failure.detail);
            Failure { detail: detail.into(), ..failure }
        };
        let unsendable =
            || Failure::local(FailureKind::Rejected, "auth.client_id or auth.client_secret cannot be sent");
        let outbound = Outbound {
            method: reqwest::Method::POST,
            url: self.origin.url(request.path).ok_or_else(unsendable)?,
            authorization: secret_header(&request.authorization).ok_or_else(unsendable)?,
            if_none_match: None,
            body: Some(secret_bytes(request.body.expose_secret())),
            foreign: None,
            response_limit: wire::BODY_LIMIT,
            is_safe: false,
            header_limit: Some(self.limits.header),
            body_idle: self.limits.body_idle,
            deadline: clock::now() + self.limits.login,
        };
        let inbound = exchange::exchange(&self.control, &outbound).await.map_err(placed)?;
        self.note_date(&inbound);
        let basic = request.authorization.expose_secret();
        let mut secrets = vec![client_secret, basic.strip_prefix("Basic ").unwrap_or(basic)];
        match grant {
            Grant::Basic { password: secret, .. } | Grant::Refresh { token: secret } => secrets.push(secret),
            Grant::ClientCredentials | Grant::ClientCredentialsV1 => {}
        }
        wire::login::decode(&inbound.reply(&secrets), clock::wall())
            .map_err(|failure| placed(failure.found_at(&inbound.trail(&secrets))))
    }

    /// A token that somebody else keeps fresh: read again where it is in a file. The one that was just refused is not taken again.
    async fn token_of(&self, secret: &Secret) -> Result<Token, Failure> {
        let (text, place) = match secret.origin() {
            SecretOrigin::File(path) => {
                (self.read_file(path.clone()).await?, format!("the token in {}", path.display()))
            }
            SecretOrigin::Credential(path) => {
                (Zeroizing::new(secret.expose().to_owned()), format!("the token in {}", path.display()))
            }
            SecretOrigin::Value => {
                (Zeroizing::new(secret.expose().to_owned()), "the token in the configuration".to_owned())
            }
        };
        if !wire::login::is_sendable(&text) {
            let words = format!("{place} is empty or has characters that no header can carry");
            return Err(Failure::local(FailureKind::Malformed, words));
        }
        if self.vault.is_refused(&text) {
            let words = format!("{place} was refused and has not changed since; put a new one there");
            return Err(Failure::local(FailureKind::Unauthorised, words));
        }
        let lifetime = wire::login::jwt_lifetime(&text);
        Ok(Token { access: SecretString::from(text.as_str()), refresh: None, lifetime })
    }

    async fn read_file(&self, path: PathBuf) -> Result<Zeroizing<String>, Failure> {
        let shown = path.display().to_string();
        // A file may be on a disk that hangs, and neither the loop nor the login may hang with it.
        let read = tokio::task::spawn_blocking(move || read_token(&path));
        let read = match exchange::first(pin!(read), pin!(clock::sleep(self.limits.login))).await {
            Ok(Ok(read)) => read,
            Ok(Err(gone)) => Err(io::Error::other(gone)),
            Err(()) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        read.map_err(|error| {
            Failure::local(FailureKind::Unreachable, format!("cannot read the token in {shown}: {error}"))
        })
    }
}

/// The call itself is not there (404, 405, 410, 501).
fn is_gone(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::NotFound | FailureKind::Unsupported)
}

/// The call is not there, or it is there for something else (400, 422).
fn is_foreign(failure: &Failure) -> bool {
    is_gone(failure) || failure.kind == FailureKind::Rejected
}

/// The backend understood, and said no.
fn is_refusal(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Unauthorised | FailureKind::Forbidden | FailureKind::Rejected)
}

fn read_token(path: &Path) -> io::Result<Zeroizing<String>> {
    // Asked first, because opening a FIFO waits for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(TOKEN_FILE_LIMIT).read_to_string(&mut text)?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
