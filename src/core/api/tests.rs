use super::*;

fn wall() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn start() -> Instant {
    crate::clock::now()
}

fn failed(kind: FailureKind, status: u16, code: Option<&str>) -> Failure {
    Failure { status: Some(status), code: code.map(Box::from), ..Failure::local(kind, "") }
}

fn bare() -> Failure {
    failed(FailureKind::NotFound, 404, None)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_bare_404_is_the_end_of_a_call_only_after_a_look_at_the_session_and_a_second_one() {
    let now = start();
    let mut api = Api::new(Choice::Auto);
    for _ in 0..3 {
        assert_eq!(api.judge(Feature::Fubar, &bare()), Judgement::Suspected, "nobody has looked at the session");
        api.suspect(Feature::Fubar, now + SECOND);
    }
    api.session_read(now);
    assert_eq!(api.judge(Feature::Fubar, &bare()), Judgement::Suspected, "that look began before");
    api.session_read(now + 2 * SECOND);
    assert_eq!(api.judge(Feature::Fubar, &bare()), Judgement::Gone);
    assert_eq!(api.judge(Feature::Events, &bare()), Judgement::Suspected, "each call for itself");
    api.find(Feature::Fubar, now, wall());
    assert_eq!(api.judge(Feature::Fubar, &bare()), Judgement::Suspected, "a success ends the suspicion");
}

#[test]
fn only_what_is_about_the_call_itself_counts() {
    let api = Api::new(Choice::Auto);
    let cases = [
        (failed(FailureKind::Unsupported, 405, None), Judgement::Gone),
        (failed(FailureKind::Unsupported, 501, Some("whatever")), Judgement::Gone),
        (failed(FailureKind::NotFound, 410, Some("endpoint_removed")), Judgement::Suspected),
        (failed(FailureKind::NotFound, 410, Some("session_not_found")), Judgement::Nothing),
        (failed(FailureKind::NotFound, 404, Some("session_not_found")), Judgement::Nothing),
        (failed(FailureKind::NotFound, 404, Some("resource_not_found")), Judgement::Nothing),
        (failed(FailureKind::Forbidden, 403, Some("insufficient_role")), Judgement::Nothing),
        (failed(FailureKind::Server, 503, None), Judgement::Nothing),
        (failed(FailureKind::Rejected, 422, None), Judgement::Nothing),
        (Failure::local(FailureKind::Cut, ""), Judgement::Nothing),
    ];
    for (failure, judgement) in cases {
        assert_eq!(api.judge(Feature::Notifications, &failure), judgement, "{failure}");
    }
}

#[test]
fn a_session_of_the_newer_generation_makes_one_bare_404_enough_for_what_was_lost_by_then() {
    let mut api = Api::new(Choice::Auto);
    api.session_seen(true);
    assert!(api.is_new());
    assert_eq!(api.judge(Feature::Notifications, &bare()), Judgement::Gone);
    assert_eq!(api.judge(Feature::Audit, &bare()), Judgement::Suspected);
}

#[test]
fn what_is_gone_is_looked_at_again_ever_more_rarely_until_it_is_there() {
    let (mut now, mut rng) = (start(), Rng::with_seed(3));
    let mut api = Api::new(Choice::Auto);
    let mut minutes = Vec::new();
    for _ in 0..5 {
        let finding = api.lose(Feature::Match, now, wall(), &mut rng);
        assert!(api.is_gone(Feature::Match, now) && finding.gone);
        minutes.push((finding.until - now).as_secs_f64() / 60.0);
        now = finding.until;
        assert!(!api.is_gone(Feature::Match, now), "to be tried");
        assert_eq!(api.judge(Feature::Match, &bare()), Judgement::Gone, "one is enough now");
    }
    for (waited, about) in minutes.iter().zip([10.0, 20.0, 40.0, 60.0, 60.0]) {
        assert!((about * 0.9..=about * 1.1).contains(waited), "{minutes:?}");
    }
    assert!(api.find(Feature::Match, now, wall()).is_some_and(|found| !found.gone));
    assert_eq!(api.find(Feature::Match, now, wall()), None, "no news");
    assert_eq!(api.lose(Feature::Match, now, wall(), &mut rng).times, 1, "from the beginning");
}

#[test]
fn a_restart_remembers_what_is_not_over_and_believes_no_clock() {
    let now = start();
    let kept =
        |seconds: i64| Kept { since: wall(), until: wall() + jiff::SignedDuration::from_secs(seconds), times: 2 };
    let memory = [
        ("fubar".to_owned(), kept(60)),
        ("event".to_owned(), kept(-1)),
        ("notifications".to_owned(), kept(1_000_000)),
        ("of a newer agent".to_owned(), kept(60)),
    ];
    let mut api = Api::new(Choice::Auto);
    api.recall(&memory.into(), wall(), now);
    assert!(api.is_gone(Feature::Fubar, now + 59 * SECOND) && !api.is_gone(Feature::Fubar, now + 60 * SECOND));
    assert!(!api.is_gone(Feature::Events, now));
    assert!(!api.is_gone(Feature::Notifications, now + 4000 * SECOND), "an hour and a little at most");
}

#[test]
fn the_newest_finding_of_anybody_stands() {
    let (now, mut rng) = (start(), Rng::with_seed(3));
    let (mut one, mut other) = (Api::new(Choice::Auto), Api::new(Choice::Auto));
    one.lose(Feature::Fubar, now, wall(), &mut rng);
    other.hear(one.findings());
    assert!(other.is_gone(Feature::Fubar, now));
    other.find(Feature::Fubar, now + SECOND, wall());
    other.hear(one.findings());
    assert!(!other.is_gone(Feature::Fubar, now + SECOND), "theirs is older");
    one.hear(other.findings());
    assert!(!one.is_gone(Feature::Fubar, now + SECOND));
}

#[test]
fn a_configured_generation_is_not_learnt() {
    let now = start();
    for (choice, gone) in [
        (Choice::V2023_11, [Feature::Audit, Feature::Unjoinable, Feature::MatchId, Feature::RefreshTtl]),
        (Choice::V2026_08, [Feature::Notifications, Feature::Fubar, Feature::Events, Feature::Match]),
    ] {
        let api = Api::new(choice);
        for feature in Feature::ALL {
            assert_eq!(api.is_gone(feature, now), gone.contains(&feature), "{choice:?} {feature:?}");
            assert_eq!(api.judge(feature, &bare()), Judgement::Nothing);
        }
        assert_eq!(api.view().generation(), choice.as_str());
    }
    let mut api = Api::new(Choice::Auto);
    assert_eq!(api.view().generation(), "2023-11");
    api.lose(Feature::Fubar, now, wall(), &mut Rng::with_seed(1));
    assert_eq!(api.view().generation(), "between");
    api.lose(Feature::Notifications, now, wall(), &mut Rng::with_seed(1));
    assert_eq!(api.view().generation(), "2026-08");
}

#[test]
fn what_is_shown_as_gone_is_what_is_gone_with_when_that_was_found() {
    let now = start();
    let shown =
        |api: &Api| api.view().gone.into_iter().map(|(feature, found)| (feature, found.is_some())).collect::<Vec<_>>();
    assert_eq!(shown(&Api::new(Choice::V2023_11)), [], "nobody misses what is newer than what was chosen");
    let fixed = shown(&Api::new(Choice::V2026_08));
    let older: Vec<_> =
        Feature::ALL.into_iter().filter(|feature| !feature.is_newer()).map(|one| (one, false)).collect();
    assert_eq!(fixed, older);
    let mut api = Api::new(Choice::Auto);
    api.lose(Feature::Fubar, now, wall(), &mut Rng::with_seed(1));
    api.lose(Feature::Events, now, wall(), &mut Rng::with_seed(1));
    api.find(Feature::Events, now + SECOND, wall());
    assert_eq!(shown(&api), [(Feature::Fubar, true)]);
}

#[test]
fn a_call_is_doubtful_from_the_first_suspicion_until_it_is_there() {
    let now = start();
    let mut api = Api::new(Choice::Auto);
    assert!(!api.is_doubtful(Feature::Notifications));
    api.suspect(Feature::Notifications, now);
    assert!(api.is_doubtful(Feature::Notifications) && !api.is_doubtful(Feature::Fubar));
    let lost = api.lose(Feature::Notifications, now, wall(), &mut Rng::with_seed(1));
    assert!(api.is_doubtful(Feature::Notifications));
    assert!(!api.is_gone(Feature::Notifications, lost.until), "it is about to be looked at again");
    assert!(api.is_doubtful(Feature::Notifications), "but nobody knows");
    api.find(Feature::Notifications, now, wall());
    assert!(!api.is_doubtful(Feature::Notifications));
    assert!(Api::new(Choice::V2026_08).is_doubtful(Feature::Notifications));
}
