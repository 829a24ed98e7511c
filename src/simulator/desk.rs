//! The login desk: clients and users, tokens and what they allow.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fastrand::Rng;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::ledger::Authorization;
use super::options::{ALL_PERMISSIONS, ClientSpec, Options, UserSpec};
use super::session::Moment;

/// How many tokens are remembered, access and refresh each; the oldest are forgotten and then unknown.
const TOKEN_LIMIT: usize = 20_000;

/// Clients, users and tokens.
pub(super) struct Desk {
    /// Any credentials are good.
    open: bool,
    clients: BTreeMap<String, Account>,
    users: BTreeMap<String, UserSpec>,
    access: Tokens,
    refresh: Tokens,
    lifetime: Duration,
}

#[derive(Default)]
struct Account {
    secret: SecretString,
    permissions: BTreeSet<String>,
    revoked: BTreeSet<String>,
}

#[derive(Default)]
struct Tokens {
    known: HashMap<String, Holder>,
    order: VecDeque<String>,
}

/// Whose token it is.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) client: String,
    /// The user of the grant `basic`.
    pub(super) user: Option<String>,
    until: Option<Instant>,
}

/// Why credentials are not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) verdict: Authorization,
    pub(super) code: &'static str,
    pub(super) description: &'static str,
    /// Who it was, if that could be read.
    pub(super) client: Option<String>,
}

impl Refusal {
    fn new(verdict: Authorization, code: &'static str, description: &'static str) -> Self {
        Self { verdict, code, description, client: None }
    }
}

impl Tokens {
    fn add(&mut self, token: &str, holder: Holder) {
        if self.order.len() >= TOKEN_LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(token.to_owned());
        self.known.insert(token.to_owned(), holder);
    }

    fn expire(&mut self, now: Instant) {
        for holder in self.known.values_mut() {
            holder.until = Some(now);
        }
    }
}

impl Desk {
    /// The desk of an environment.
    pub(super) fn new(options: &Options) -> Self {
        let account = |client: &ClientSpec| Account {
            secret: client.secret.clone(),
            permissions: client.permissions.iter().cloned().collect(),
            revoked: BTreeSet::new(),
        };
        Self {
            open: options.clients.is_empty(),
            clients: options.clients.iter().map(|client| (client.id.clone(), account(client))).collect(),
            users: options.users.iter().map(|user| (user.name.clone(), user.clone())).collect(),
            access: Tokens::default(),
            refresh: Tokens::default(),
            lifetime: whole_seconds(options.token_lifetime),
        }
    }

    /// HTTP Basic: gives the client.
    pub(super) fn basic(&mut self, header: Option<&str>) -> Result<String, Refusal> {
        const FORMAT: &str = "basic_auth_incorrect_format";
        let header = header
            .ok_or_else(|| Refusal::new(Authorization::Missing, "basic_token_empty", "Basic access token is empty"))?;
        let malformed = || {
            Refusal::new(Authorization::Malformed, FORMAT, "Basic auth should be formatted like `USERNAME:PASSWORD`")
        };
        let encoded = after_scheme(header, "basic").ok_or_else(malformed)?;
        let decoded = STANDARD.decode(encoded).map_err(|_not| malformed())?;
        let pair = String::from_utf8(decoded).map_err(|_not| malformed())?;
        let (client, secret) = pair.split_once(':').filter(|(id, _)| !id.is_empty()).ok_or_else(malformed)?;
        let good =
            self.open || self.clients.get(client).is_some_and(|account| account.secret.expose_secret() == secret);
        if good {
            self.account(client);
            Ok(client.to_owned())
        } else {
            let mut refusal = Refusal::new(
                Authorization::Unknown,
                "basic_auth_credentials_not_found",
                "Basic auth credentials not found",
            );
            refusal.client = Some(client.to_owned());
            Err(refusal)
        }
    }

    /// A login that names no client: a refresh token is its client's, and a user is a client alone.
    pub(super) fn without_basic(&mut self, grant: &str, token: &str) -> Option<String> {
        let client = match grant {
            "refresh" => self.refresh.known.get(token)?.client.clone(),
            "basic" => token.split_once(':').filter(|(name, _)| !name.is_empty())?.0.to_owned(),
            _ => return None,
        };
        self.account(&client);
        Some(client)
    }

    /// A bearer token: gives its holder.
    pub(super) fn bearer(&self, header: Option<&str>, now: Instant) -> Result<Holder, Refusal> {
        let header = header.ok_or_else(|| {
            Refusal::new(Authorization::Missing, "auth_not_jwt", "Invalid Authorization - no access token was given")
        })?;
        let token = after_scheme(header, "bearer").ok_or_else(|| {
            let words = "Invalid Authorization - the header is not `Bearer` and an access token";
            Refusal::new(Authorization::Malformed, "auth_token_format", words)
        })?;
        let holder = self.access.known.get(token).ok_or_else(|| {
            Refusal::new(Authorization::Unknown, "auth_token_sig_invalid", "Token Signature is invalid")
        })?;
        if holder.until.is_some_and(|until| now >= until) {
            let mut refusal = Refusal::new(Authorization::Expired, "auth_token_expired", "Token is expired");
            refusal.client = Some(holder.client.clone());
            return Err(refusal);
        }
        Ok(holder.clone())
    }

    /// The grant `basic`: gives the user.
    pub(super) fn user(&self, pair: &str, agreed: bool) -> Result<String, (&'static str, &'static str)> {
        if pair.is_empty() {
            return Err(("basic_token_empty", "Basic access token is empty"));
        }
        let (name, password) = pair
            .split_once(':')
            .filter(|(name, _)| !name.is_empty())
            .ok_or(("basic_auth_incorrect_format", "Basic auth should be formatted like `USERNAME:PASSWORD`"))?;
        let user = self.users.get(name).filter(|user| user.password.expose_secret() == password);
        match user {
            Some(user) if user.needs_agreements && !agreed => {
                Err((NEEDS_AGREEMENTS, "User has not accepted all required agreements"))
            }
            None if !self.users.is_empty() => {
                Err(("basic_auth_credentials_not_found", "Basic auth credentials not found"))
            }
            Some(_) | None => Ok(name.to_owned()),
        }
    }

    /// The grant `refresh`: gives whom the token was made for.
    pub(super) fn refresh(
        &self,
        token: &str,
        client: &str,
        now: Instant,
    ) -> Result<Holder, (&'static str, &'static str)> {
        if token.is_empty() {
            return Err(("refresh_token_empty", "Refresh token is empty"));
        }
        match self.refresh.known.get(token) {
            Some(holder) if holder.until.is_some_and(|until| now >= until) => {
                Err(("refresh_token_not_found", "Refresh token was not found or has expired"))
            }
            Some(holder) if holder.client != client => {
                let words = "Client ID for new token request did not match original token";
                Err(("refresh_token_client_id_mismatch", words))
            }
            Some(holder) => Ok(holder.clone()),
            None => Err(("refresh_token_not_found", "Refresh token was not found or has expired")),
        }
    }

    /// Makes an access token, JWT-shaped: header, payload with `iat` and `exp`, and a signature that nobody can check.
    pub(super) fn issue(&mut self, client: &str, user: Option<&str>, moment: Moment, rng: &mut Rng) -> String {
        let issued = moment.wall.as_second();
        let expires = issued.saturating_add(i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX));
        let part = |document: serde_json::Value| URL_SAFE_NO_PAD.encode(document.to_string());
        let header = part(json!({"alg": "RS256", "typ": "JWT", "kid": "simulator"}));
        let payload = part(json!({
            "iss": "rallyhere-simulator",
            "sub": user.unwrap_or(client),
            "client": client,
            "jti": format!("{:032x}", rng.u128(..)),
            "iat": issued,
            "exp": expires,
        }));
        let signature: [u8; 32] = std::array::from_fn(|_| rng.u8(..));
        let token = format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature));
        let until = moment.now.checked_add(self.lifetime);
        self.access.add(&token, Holder { client: client.to_owned(), user: user.map(str::to_owned), until });
        token
    }

    /// Makes a refresh token. It stays good when it is used.
    pub(super) fn issue_refresh(&mut self, client: &str, user: Option<&str>, rng: &mut Rng) -> String {
        let token = format!("{:032x}", rng.u128(..));
        self.refresh.add(&token, Holder { client: client.to_owned(), user: user.map(str::to_owned), until: None });
        token
    }

    /// The lifetime of new access tokens, in whole seconds.
    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Changes it, for tokens to come.
    pub(super) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = whole_seconds(lifetime);
    }

    /// Every token is old from now on; the refresh tokens only if asked for.
    pub(super) fn expire(&mut self, now: Instant, refresh_too: bool) {
        self.access.expire(now);
        if refresh_too {
            self.refresh.expire(now);
        }
    }

    /// What a client may do, as a list.
    pub(super) fn permissions(&self, client: &str) -> Vec<String> {
        self.clients.get(client).map(|account| account.permissions.iter().cloned().collect()).unwrap_or_default()
    }

    /// The clients that are known.
    pub(super) fn clients(&self) -> Vec<String> {
        self.clients.keys().cloned().collect()
    }

    /// Whether a client has one of these permissions. The list is the contract's: its wildcards stand for all the
    /// others in it, so a client with a wildcard has them until they are revoked.
    pub(super) fn holds(&self, client: &str, any_of: &[&str]) -> bool {
        let Some(account) = self.clients.get(client) else { return false };
        let has = |permission: &str| account.permissions.contains(permission);
        let (wild, single): (Vec<&str>, Vec<&str>) = any_of.iter().partition(|permission| permission.ends_with('*'));
        let covered = wild.iter().any(|permission| has(permission));
        let revoked = |permission: &str| account.revoked.iter().any(|pattern| covers(pattern, permission));
        any_of.is_empty() || single.iter().any(|permission| (covered || has(permission)) && !revoked(permission))
    }

    /// Takes a permission from a client at once, also from its tokens; `session:read:*` takes all that begin so.
    pub(super) fn revoke(&mut self, client: &str, permission: &str) {
        let account = self.account(client);
        account.permissions.retain(|held| !covers(permission, held));
        account.revoked.insert(permission.to_owned());
    }

    /// Gives a permission to a client.
    pub(super) fn grant(&mut self, client: &str, permission: &str) {
        let account = self.account(client);
        account.revoked.retain(|pattern| !covers(pattern, permission) && !covers(permission, pattern));
        account.permissions.insert(permission.to_owned());
    }

    fn account(&mut self, client: &str) -> &mut Account {
        self.clients.entry(client.to_owned()).or_insert_with(|| Account {
            permissions: ALL_PERMISSIONS.iter().map(|&permission| permission.to_owned()).collect(),
            ..Account::default()
        })
    }
}

/// The code of a user who has not accepted everything; its error model says more than the others.
pub(super) const NEEDS_AGREEMENTS: &str = "user_needs_agreements";

fn covers(pattern: &str, permission: &str) -> bool {
    pattern == permission || pattern.strip_suffix('*').is_some_and(|prefix| permission.starts_with(prefix))
}

fn after_scheme<'a>(header: &'a str, scheme: &str) -> Option<&'a str> {
    let (name, rest) = header.split_once(' ')?;
    let rest = rest.trim();
    (name.eq_ignore_ascii_case(scheme) && !rest.is_empty()).then_some(rest)
}

fn whole_seconds(lifetime: Duration) -> Duration {
    Duration::from_secs(lifetime.as_secs().max(1))
}

#[cfg(test)]
mod tests;
