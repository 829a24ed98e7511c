use super::*;
use crate::clock;

const SAY: Pass = Pass::Say { suppressed: 0 };

#[test]
fn one_line_per_cause_and_minute_and_it_owns_up_to_the_rest() {
    let start = clock::now();
    let mut thinner = Thinner::new();
    assert_eq!(thinner.pass("disk", start), SAY);
    for second in 1..60 {
        assert_eq!(thinner.pass("disk", start + Duration::from_secs(second)), Pass::Silent, "second {second}");
    }
    assert_eq!(thinner.pass("disk", start + INTERVAL), Pass::Say { suppressed: 59 });
    assert_eq!(thinner.pass("disk", start + INTERVAL), Pass::Silent, "the minute begins anew with each line");
    assert_eq!(thinner.pass("disk", start + INTERVAL * 10), Pass::Say { suppressed: 1 });
    assert_eq!(thinner.pass("disk", start + INTERVAL * 20), SAY);
}

#[test]
fn causes_do_not_silence_each_other() {
    let start = clock::now();
    let mut thinner = Thinner::new();
    assert_eq!(thinner.pass("disk", start), SAY);
    assert_eq!(thinner.pass("login", start), SAY);
    assert_eq!(thinner.pass("disk", start), Pass::Silent);
}

#[test]
fn any_number_of_causes_costs_bounded_room_and_bounded_lines() {
    let start = clock::now();
    let mut thinner = Thinner::new();
    let said = |thinner: &mut Thinner, now| {
        (0..10_000).filter(|cause| thinner.pass(&cause.to_string(), now) != Pass::Silent).count()
    };
    assert_eq!(said(&mut thinner, start), CAUSES + 1, "one for each that has a place, one for all others");
    assert_eq!(said(&mut thinner, start + INTERVAL / 2), 0);
    assert_eq!(thinner.causes.len(), CAUSES);

    let later = start + INTERVAL * 2;
    assert_eq!(thinner.pass("new", later), SAY, "causes that are long over make room");
    assert!(thinner.causes.len() <= CAUSES);
}

#[test]
fn an_earlier_moment_says_nothing_new() {
    let start = clock::now();
    let mut thinner = Thinner::new();
    assert_eq!(thinner.pass("disk", start + INTERVAL), SAY);
    assert_eq!(thinner.pass("disk", start), Pass::Silent);
}
