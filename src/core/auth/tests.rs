//! One login per expiry, and none that a refusal would make a storm of.

#![expect(clippy::unnecessary_wraps, reason = "helpers have the shape of what they stand for")]

use super::*;

fn auth() -> (Auth, Instant) {
    let now = crate::clock::now();
    (Auth::new(3, &Past::default(), now), now)
}

/// The login that the machine wants now, if any.
fn login(auth: &mut Auth) -> Option<(CallId, Login, Generation)> {
    let mut found = None;
    while let Some(action) = auth.poll_action() {
        if let AuthAction::Login { id, login, generation } = action {
            assert!(found.is_none(), "two logins at once");
            found = Some((id, login, generation));
        }
    }
    found
}

fn token(lifetime: u64, can_refresh: bool) -> Result<LoggedIn, Failure> {
    Ok(LoggedIn { lifetime: Some(Duration::from_secs(lifetime)), can_refresh })
}

fn refused() -> Result<LoggedIn, Failure> {
    Err(Failure { code: Some("basic_auth_failed".into()), ..Failure::local(FailureKind::Unauthorised, "no") })
}

fn answer(auth: &mut Auth, id: CallId, result: Result<LoggedIn, Failure>, now: Instant) {
    auth.handle_event(AuthEvent::Answered { id, result }, now);
}

/// Goes to the next deadline.
fn later(auth: &mut Auth, now: &mut Instant) {
    *now = auth.poll_timeout().expect("a deadline");
    auth.handle_timeout(*now);
}

#[test]
fn it_logs_in_at_once_and_refreshes_early_at_a_random_point() {
    let mut points = Vec::new();
    for seed in 0..50 {
        let begun = crate::clock::now();
        let mut auth = Auth::new(seed, &Past::default(), begun);
        let (id, way, generation) = login(&mut auth).expect("at once");
        assert_eq!((way, generation), (Login::Fresh, Generation(1)));
        answer(&mut auth, id, token(1000, true), begun);
        assert_eq!(auth.snapshot().state, AuthState::Valid);
        let mut now = begun;
        later(&mut auth, &mut now);
        points.push((now - begun).as_secs());
        let (_, way, _) = login(&mut auth).expect("the refresh");
        assert_eq!(way, Login::Refresh);
        assert_eq!(auth.snapshot().state, AuthState::Refreshing);
        assert!(auth.snapshot().state.has_token(), "the old token serves until the new one is there");
    }
    assert!(points.iter().all(|point| (600..=900).contains(point)), "{points:?}");
    assert!(points.iter().max().unwrap() - points.iter().min().unwrap() > 100, "a fleet must not refresh at once");
}

#[test]
fn many_rejections_of_one_token_are_one_login() {
    let (mut auth, now) = auth();
    let (id, _, generation) = login(&mut auth).unwrap();
    answer(&mut auth, id, token(3600, false), now);
    login(&mut auth);
    let now = now + Duration::from_secs(100);
    auth.handle_event(AuthEvent::Rejected(generation), now);
    let (id, _, next) = login(&mut auth).expect("one");
    for _ in 0..10 {
        auth.handle_event(AuthEvent::Rejected(generation), now);
    }
    assert!(login(&mut auth).is_none());
    answer(&mut auth, id, token(3600, false), now);
    auth.handle_event(AuthEvent::Rejected(generation), now);
    assert!(login(&mut auth).is_none(), "an old token's rejection is old news");
    assert_eq!(auth.snapshot().generation, Some(next));
}

#[test]
fn a_rejection_during_a_login_begins_no_second_one() {
    let (mut auth, now) = auth();
    let (id, _, generation) = login(&mut auth).unwrap();
    answer(&mut auth, id, token(3600, false), now);
    login(&mut auth);
    let now = now + Duration::from_secs(3600);
    auth.handle_timeout(now);
    assert!(login(&mut auth).is_some(), "the early refresh");
    auth.handle_event(AuthEvent::Rejected(generation), now);
    assert!(login(&mut auth).is_none(), "one is on its way");
}

#[test]
fn a_token_that_is_rejected_as_soon_as_it_is_given_is_not_a_login_storm() {
    let (mut auth, mut now) = auth();
    let mut logins = 0;
    let end = now + Duration::from_secs(600);
    let mut wanted = login(&mut auth);
    while now < end {
        if let Some((id, _, generation)) = wanted.take() {
            logins += 1;
            answer(&mut auth, id, token(3600, false), now);
            login(&mut auth);
            now += Duration::from_millis(10);
            auth.handle_event(AuthEvent::Rejected(generation), now);
        } else {
            later(&mut auth, &mut now);
        }
        wanted = login(&mut auth);
    }
    assert!(logins <= 40, "{logins} logins in ten minutes");
}

#[test]
fn refused_credentials_are_tried_once_a_minute_then_every_five_to_fifteen() {
    let (mut auth, begun) = auth();
    let mut now = begun;
    let mut at = Vec::new();
    while now < begun + Duration::from_secs(3600) {
        if let Some((id, _, _)) = login(&mut auth) {
            at.push(now);
            answer(&mut auth, id, refused(), now);
            let view = auth.snapshot();
            assert_eq!(view.state, AuthState::Denied);
            assert!(view.detail.unwrap().contains("basic_auth_failed"));
        } else {
            later(&mut auth, &mut now);
        }
    }
    for pair in at.windows(2) {
        let (gap, age) = ((pair[1] - pair[0]).as_secs_f64(), (pair[0] - begun).as_secs_f64());
        let range = if age < 600.0 { 60.0..=75.0 } else { 300.0..=900.0 };
        assert!(range.contains(&gap), "{gap} s after {age} s");
    }
}

#[test]
fn a_reload_tries_refused_credentials_at_once_but_leaves_a_good_token_alone() {
    let (mut auth, now) = auth();
    let (id, _, _) = login(&mut auth).unwrap();
    answer(&mut auth, id, refused(), now);
    auth.handle_event(AuthEvent::Reloaded, now);
    let (id, _, _) = login(&mut auth).expect("at once");
    answer(&mut auth, id, token(3600, false), now);
    login(&mut auth);
    auth.handle_event(AuthEvent::Reloaded, now);
    assert!(login(&mut auth).is_none());
}

#[test]
fn a_failure_for_now_is_retried_with_jitter_and_keeps_the_old_token() {
    let (mut auth, mut now) = auth();
    let (id, _, _) = login(&mut auth).unwrap();
    answer(&mut auth, id, token(1000, false), now);
    later(&mut auth, &mut now);
    let (id, _, _) = login(&mut auth).expect("the refresh");
    answer(&mut auth, id, Err(Failure::local(FailureKind::Unreachable, "")), now);
    let view = auth.snapshot();
    assert_eq!(view.state, AuthState::Valid, "the old token is good until it is rejected");
    let wait = view.retry_at.unwrap() - now;
    assert!(wait <= Duration::from_secs(15), "{wait:?}");
}

#[test]
fn retry_after_at_the_login_is_honoured() {
    for kind in [FailureKind::Throttled, FailureKind::Server, FailureKind::Forbidden] {
        let (mut auth, now) = auth();
        let (id, _, _) = login(&mut auth).unwrap();
        let failure = Failure { retry_after: Some(Duration::from_secs(200)), ..Failure::local(kind, "") };
        answer(&mut auth, id, Err(failure), now);
        assert!(auth.poll_timeout().unwrap() >= now + Duration::from_secs(200), "{kind:?}");
    }
}

#[test]
fn a_refused_refresh_falls_back_to_the_credentials_at_once() {
    let (mut auth, mut now) = auth();
    let (id, _, _) = login(&mut auth).unwrap();
    answer(&mut auth, id, token(1000, true), now);
    later(&mut auth, &mut now);
    let (id, way, _) = login(&mut auth).unwrap();
    assert_eq!(way, Login::Refresh);
    answer(&mut auth, id, refused(), now);
    let (_, way, _) = login(&mut auth).expect("the credentials have not been asked yet");
    assert_eq!(way, Login::Fresh);
    assert_ne!(auth.snapshot().state, AuthState::Denied);
}

#[test]
fn internal_error_is_worth_a_retry() {
    let (mut auth, now) = auth();
    let (id, _, _) = login(&mut auth).unwrap();
    let failure =
        Failure { code: Some("internal_error".into()), ..Failure::local(FailureKind::Forbidden, "try again") };
    answer(&mut auth, id, Err(failure), now);
    assert_eq!(auth.snapshot().state, AuthState::None, "not denied");
    assert!(auth.poll_timeout().unwrap() <= now + Duration::from_secs(15));
}

#[test]
fn answers_to_unknown_calls_are_ignored_and_nothing_happens_after_the_stop() {
    let (mut auth, now) = auth();
    let (id, _, _) = login(&mut auth).unwrap();
    answer(&mut auth, id.clone(), token(1000, false), now);
    let view = auth.snapshot();
    answer(&mut auth, id, refused(), now);
    assert_eq!(auth.snapshot(), view);
    auth.handle_event(AuthEvent::Stop, now);
    auth.handle_timeout(now + Duration::from_secs(86_400));
    assert!(login(&mut auth).is_none() && auth.poll_timeout().is_none());
}

#[test]
fn a_kept_token_needs_no_login_and_its_rejection_is_one() {
    let now = crate::clock::now();
    let kept = LoggedIn { lifetime: Some(Duration::from_secs(600)), can_refresh: false };
    let mut auth = Auth::new(3, &Past { attempts: Vec::new(), token: Some(kept) }, now);
    assert!(auth.poll_action().is_none());
    assert_eq!(auth.snapshot().state, AuthState::Valid);
    auth.handle_event(AuthEvent::Rejected(Generation(1)), now);
    let (id, _, generation) = login(&mut auth).expect("at once");
    assert_eq!(generation, Generation(2));
    answer(&mut auth, id, token(600, false), now);
    login(&mut auth);
    auth.handle_event(AuthEvent::Rejected(generation), now);
    assert!(login(&mut auth).is_some(), "one new token that is rejected is bad luck");
}

#[test]
fn however_often_it_is_restarted_it_logs_in_once_a_minute_on_average() {
    let begun = crate::clock::now();
    let mut logins: Vec<Instant> = Vec::new();
    let mut now = begun;
    // A crash every second for an hour, right after the login if there is one.
    while now < begun + Duration::from_secs(3600) {
        let ages = logins.iter().rev().take(PAST_ATTEMPTS).rev().map(|at| now - *at).collect();
        let mut auth = Auth::new(fastrand::u64(..), &Past { attempts: ages, token: None }, now);
        let end = now + Duration::from_secs(1);
        if login(&mut auth).is_some() {
            logins.push(now);
        } else if let Some(due) = auth.poll_timeout().filter(|due| *due < end) {
            auth.handle_timeout(due);
            assert!(login(&mut auth).is_some());
            logins.push(due);
        }
        now = end;
    }
    assert!(logins[0] == begun, "first contact is immediate");
    assert!(logins.len() <= 64, "{} logins in an hour", logins.len());
    assert!(logins.len() >= 30, "{} logins in an hour: it must not starve", logins.len());
}

#[test]
fn an_ordinary_restart_logs_in_at_once() {
    let past = Past { attempts: vec![Duration::from_secs(3600), Duration::from_secs(5)], token: None };
    assert!(login(&mut Auth::new(3, &past, crate::clock::now())).is_some());
}

#[test]
fn a_kept_token_that_is_refused_does_not_get_around_the_restraint() {
    let now = crate::clock::now();
    let kept = LoggedIn { lifetime: None, can_refresh: false };
    let attempts = vec![Duration::from_secs(3), Duration::from_secs(2), Duration::from_secs(1)];
    let mut auth = Auth::new(3, &Past { attempts, token: Some(kept) }, now);
    auth.handle_event(AuthEvent::Rejected(Generation(1)), now);
    assert!(login(&mut auth).is_none());
    assert!(auth.snapshot().detail.unwrap().contains("again and again"));
    let mut now = now;
    later(&mut auth, &mut now);
    assert!(login(&mut auth).is_some());
}

#[test]
fn what_one_instance_has_learnt_of_the_api_is_told_once_and_the_newest_stands() {
    let (mut auth, now) = auth();
    while auth.poll_action().is_some() {}
    let wall: jiff::Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    let finding =
        |gone: bool, at: Instant| Finding { gone, at, since: wall, until: at + Duration::from_secs(600), times: 1 };
    let later = now + Duration::from_secs(1);
    let told = |auth: &mut Auth, gone: bool, at: Instant| {
        auth.handle_event(AuthEvent::Learnt { feature: Feature::Fubar, finding: finding(gone, at) }, later);
        std::iter::from_fn(|| auth.poll_action()).collect::<Vec<_>>()
    };
    let lost = vec![AuthAction::Learnt { feature: Feature::Fubar, gone: true }];
    assert_eq!(told(&mut auth, true, now), lost);
    assert_eq!(told(&mut auth, true, later), [], "found again by another instance");
    assert_eq!(told(&mut auth, false, now), [], "old news");
    assert!(auth.snapshot().api[&Feature::Fubar].gone);
    let back = vec![AuthAction::Learnt { feature: Feature::Fubar, gone: false }];
    assert_eq!(told(&mut auth, false, later + Duration::from_secs(1)), back);
}

/// The simulation found it: a refresh was turned away with Retry-After, the token died meanwhile, and its rejection logged in at
/// once.
#[test]
fn a_token_that_dies_while_its_refresh_fails_does_not_cut_the_wait_short() {
    for refresh in [true, false] {
        let (mut auth, mut now) = auth();
        let (id, _, generation) = login(&mut auth).unwrap();
        answer(&mut auth, id, token(1000, refresh), now);
        later(&mut auth, &mut now);
        let (id, _, _) = login(&mut auth).expect("the early refresh");
        let after = Some(Duration::from_secs(600));
        let busy = Failure { retry_after: after, ..Failure::local(FailureKind::Throttled, "later") };
        answer(&mut auth, id, Err(busy), now);
        let asked = now;
        now += Duration::from_secs(300);
        auth.handle_event(AuthEvent::Rejected(generation), now);
        assert_eq!(login(&mut auth), None, "the backend asked for peace");
        assert!(!auth.snapshot().state.has_token());
        later(&mut auth, &mut now);
        assert!(now - asked >= Duration::from_secs(600), "{:?}", now - asked);
        assert!(login(&mut auth).is_some(), "but it does not wait for ever");
    }
}

/// How long after its start a process with this history logs in, in seconds; ten seconds of that are dice.
fn waits(attempts: &[u64]) -> u64 {
    let attempts = attempts.iter().map(|ago| Duration::from_secs(*ago)).collect();
    let now = crate::clock::now();
    let auth = Auth::new(3, &Past { attempts, token: None }, now);
    auth.poll_timeout().map_or(0, |due| (due - now).as_secs())
}

#[test]
fn the_restraint_is_as_long_as_the_history_says_and_a_calm_time_gives_the_burst_back() {
    assert_eq!(waits(&[10, 5]), 0, "two quick restarts are within the burst");
    assert!((60..=70).contains(&waits(&[0, 0, 0])));
    assert!((30..=40).contains(&waits(&[30, 30, 30])), "the time since then counts");
    assert_eq!(waits(&[600, 600, 600, 0]), 0, "before the last there was time for three");
    assert!((50..=60).contains(&waits(&[70, 70, 70, 10])), "but only for one");
    assert!((60..=70).contains(&waits(&[0; PAST_ATTEMPTS])), "what was before a full history is taken as spent");
}

#[test]
fn a_token_of_a_short_life_that_is_refused_in_its_second_half_has_expired_and_is_no_riddle() {
    let (mut auth, now) = auth();
    for turn in 1..=3 {
        let (id, ..) = login(&mut auth).expect("at once");
        let now = now + Duration::from_secs(5 * turn);
        answer(&mut auth, id, token(8, false), now);
        assert_eq!(auth.snapshot().attempts, turn, "each is counted");
        auth.handle_event(AuthEvent::Rejected(Generation(turn)), now + Duration::from_millis(4_500));
    }
    assert!(login(&mut auth).is_some(), "{:?}", auth.snapshot());
}

#[test]
fn a_reload_tries_a_failing_refresh_at_once_with_the_credentials() {
    let (mut auth, mut now) = auth();
    let (id, ..) = login(&mut auth).expect("at once");
    answer(&mut auth, id, token(1000, true), now);
    later(&mut auth, &mut now);
    let (id, way, _) = login(&mut auth).expect("the refresh");
    assert_eq!(way, Login::Refresh);
    answer(&mut auth, id, Err(Failure::local(FailureKind::Server, "down")), now);
    assert!(login(&mut auth).is_none());
    auth.handle_event(AuthEvent::Reloaded, now);
    assert_eq!(login(&mut auth).map(|(_, way, _)| way), Some(Login::Fresh));
    assert!(!auth.is_over());
    auth.handle_event(AuthEvent::Stop, now);
    assert!(auth.is_over());
}
