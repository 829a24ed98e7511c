use serde_json::Value;

use super::*;

fn moment() -> Moment {
    Moment { now: crate::clock::now(), wall: crate::clock::wall() }
}

fn desk(options: &Options) -> Desk {
    Desk::new(options)
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[test]
fn without_clients_any_credentials_are_good_and_with_them_only_theirs() {
    let mut open = desk(&Options::default());
    assert_eq!(open.basic(Some(&basic("any:thing"))).unwrap(), "any");
    let mut closed = desk(&Options { clients: vec![ClientSpec::new("a", "s:1")], ..Options::default() });
    assert_eq!(closed.basic(Some(&basic("a:s:1"))).unwrap(), "a");
    for (header, code) in [
        (Some(basic("a:s")), "basic_auth_credentials_not_found"),
        (Some(basic("b:s:1")), "basic_auth_credentials_not_found"),
        (Some(basic("a")), "basic_auth_incorrect_format"),
        (Some("Basic ???".to_owned()), "basic_auth_incorrect_format"),
        (Some("Bearer abc".to_owned()), "basic_auth_incorrect_format"),
        (None, "basic_token_empty"),
    ] {
        assert_eq!(closed.basic(header.as_deref()).unwrap_err().code, code, "{header:?}");
    }
}

#[test]
fn a_token_is_good_for_its_lifetime_and_says_so() {
    let mut desk = desk(&Options { token_lifetime: Duration::from_millis(2500), ..Options::default() });
    let start = moment();
    let token = desk.issue("c", None, start, &mut Rng::with_seed(1));
    let payload = token.split('.').nth(1).unwrap();
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    assert_eq!(payload["exp"].as_i64().unwrap() - payload["iat"].as_i64().unwrap(), 2);

    let header = format!("Bearer {token}");
    let code = |after: u64| {
        let now = start.now + Duration::from_millis(after);
        desk.bearer(Some(&header), now).map(|holder| holder.client).map_err(|refusal| refusal.code)
    };
    assert_eq!(code(1999), Ok("c".to_owned()));
    assert_eq!(code(2000), Err("auth_token_expired"));
    for (header, code) in [
        (None, "auth_not_jwt"),
        (Some("Basic x"), "auth_token_format"),
        (Some("Bearer a.b.c"), "auth_token_sig_invalid"),
    ] {
        assert_eq!(desk.bearer(header, start.now).unwrap_err().code, code);
    }
}

#[test]
fn a_refresh_token_belongs_to_its_client() {
    let mut desk = desk(&Options::default());
    let token = desk.issue_refresh("c", Some("u"), &mut Rng::with_seed(1));
    let now = moment().now;
    assert_eq!(desk.refresh(&token, "c", now).unwrap().user.as_deref(), Some("u"));
    assert_eq!(desk.refresh(&token, "d", now).unwrap_err().0, "refresh_token_client_id_mismatch");
    assert_eq!(desk.refresh("", "c", now).unwrap_err().0, "refresh_token_empty");
    assert_eq!(desk.refresh("x", "c", now).unwrap_err().0, "refresh_token_not_found");
    desk.expire(now, false);
    assert!(desk.refresh(&token, "c", now).is_ok());
    desk.expire(now, true);
    assert_eq!(desk.refresh(&token, "c", now).unwrap_err().0, "refresh_token_not_found");
}

#[test]
fn users_are_checked_only_if_there_are_any() {
    assert_eq!(desk(&Options::default()).user("u:p", false).unwrap(), "u");
    let strict = UserSpec { needs_agreements: true, ..UserSpec::new("strict", "p") };
    let desk = desk(&Options { users: vec![UserSpec::new("u", "p"), strict], ..Options::default() });
    assert_eq!(desk.user("u:p", false).unwrap(), "u");
    assert_eq!(desk.user("u:q", false).unwrap_err().0, "basic_auth_credentials_not_found");
    assert_eq!(desk.user("up", false).unwrap_err().0, "basic_auth_incorrect_format");
    assert_eq!(desk.user("strict:p", false).unwrap_err().0, NEEDS_AGREEMENTS);
    assert_eq!(desk.user("strict:p", true).unwrap(), "strict");
}

#[test]
fn a_wildcard_gives_what_the_contract_lists_with_it_until_it_is_revoked() {
    let fubar = ["session:update:fubar", "session:*"];
    let read = ["session:read:any", "session:read:self", "session:*"];
    let health = ["session:instance:health"];
    let narrow = ClientSpec::new("narrow", "").with_permissions(&["session:*"]);
    let mut desk = desk(&Options { clients: vec![narrow], ..Options::default() });
    assert!(desk.holds("narrow", &fubar) && desk.holds("narrow", &read));
    assert!(!desk.holds("narrow", &health), "the contract lists no wildcard for health");
    assert!(!desk.holds("nobody", &fubar));

    desk.revoke("narrow", "session:update:fubar");
    assert!(!desk.holds("narrow", &fubar) && desk.holds("narrow", &read));
    desk.revoke("narrow", "session:read:*");
    assert!(!desk.holds("narrow", &read));
    desk.grant("narrow", "session:read:self");
    assert!(desk.holds("narrow", &read));
    desk.grant("narrow", "session:instance:health");
    assert!(desk.holds("narrow", &health));
}
