//! Logins: POST /users/v2/oauth/token and POST /users/v1/login.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use hyper::StatusCode;
use serde_json::{Value, json};
use uuid::Builder;

use super::{Checked, World};
use crate::simulator::desk::NEEDS_AGREEMENTS;
use crate::simulator::reply::Reply;
use crate::simulator::session::{Moment, put};

const AGREEMENTS: [&str; 3] = ["accept_eula", "accept_tos", "accept_privacy_policy"];

impl World {
    pub(super) fn token(&mut self, call: &Checked, moment: Moment) -> Reply {
        let mut document = json!({
            "access_token": self.desk.issue(&call.client, None, moment, &mut self.rng),
            "token_type": "Bearer",
            "expires_in": self.desk.lifetime().as_secs(),
        });
        if self.oauth_refresh_tokens {
            let token = self.desk.issue_refresh(&call.client, None, &mut self.rng);
            put(&mut document, "refresh_token", Some(json!(token)));
        }
        self.logged_in(Some(call.client.clone()), Some("client_credentials".to_owned()), None, moment);
        Reply::ok(&document)
    }

    pub(super) fn login(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let grant = call.word("grant_type").to_owned();
        let given = call.word("portal_access_token");
        let agreed = AGREEMENTS.iter().all(|name| accepted(call, name));
        let user = match grant.as_str() {
            "basic" => self.desk.user(given, agreed).map(Some).map_err(own),
            "refresh" => self.desk.refresh(given, &call.client, moment.now).map(|holder| holder.user).map_err(own),
            // In 2026-08, or where the options allow it; the rules of 2023-11 refuse it.
            "client_credentials" => Ok(None),
            other => Err((format!("{other}_disabled"), format!("{other} authentication is currently disabled"))),
        };
        let who = Some(call.client.clone());
        let user = match user {
            Ok(user) => user,
            Err((code, description)) => {
                self.logged_in(who, Some(grant), Some(code.clone()), moment);
                return Err(refused(call, &code, &description));
            }
        };
        self.logged_in(who, Some(grant), None, moment);
        Ok(Reply::ok(&self.login_result(call, user.as_deref(), moment)))
    }

    fn login_result(&mut self, call: &Checked, user: Option<&str>, moment: Moment) -> Value {
        let name = user.unwrap_or(&call.client);
        let id = |what: &str| stable_uuid(what, name);
        let mut document = json!({
            "platform": "Basic",
            "portal_id": 28,
            "portal_user_id": name,
            "display_name": name,
            "permissions": self.desk.permissions(&call.client),
            "restrictions": [],
            "active_player_id": 1,
            "active_player_uuid": id("player"),
            "role_id": 1,
            "person_id": id("person"),
            "publisher_uuid": id("publisher"),
            "tenant_uuid": id("tenant"),
            "config_elector_uuid": id("elector"),
            "client_uuid": id("client"),
            "access_token": self.desk.issue(&call.client, user, moment, &mut self.rng),
        });
        if self.is_new {
            put(&mut document, "client_id", Some(json!(call.client)));
            put(&mut document, "token_type", Some(json!("Bearer")));
            put(&mut document, "expires_in", Some(json!(self.desk.lifetime().as_secs())));
        }
        if call.body.get("include_refresh") == Some(&json!(true)) {
            let token = self.desk.issue_refresh(&call.client, user, &mut self.rng);
            put(&mut document, "refresh_token", Some(json!(token)));
        }
        document
    }
}

fn own((code, description): (&'static str, &'static str)) -> (String, String) {
    (code.to_owned(), description.to_owned())
}

fn accepted(call: &Checked, name: &str) -> bool {
    call.body.get(name) == Some(&json!(true))
}

/// AgreementMessage: the error model of this call.
fn refused(call: &Checked, code: &str, description: &str) -> Reply {
    let mut document = json!({"auth_success": false, "error_code": code, "desc": description});
    if code == NEEDS_AGREEMENTS {
        for name in AGREEMENTS {
            put(&mut document, &name.replace("accept_", "needs_"), Some(json!(!accepted(call, name))));
        }
    }
    Reply::json(StatusCode::FORBIDDEN, &document)
}

/// The same name is the same person at every login.
fn stable_uuid(what: &str, name: &str) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, what, name).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    Builder::from_random_bytes(((half(0) << 64) | half(1)).to_be_bytes()).into_uuid().to_string()
}
