//! The turns of the loop, with a toy.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::core::auth::AuthView;
use rallyhere_agent::core::event::Request;
use rallyhere_agent::driver::{Inbox, Pulse, drive};
use rallyhere_agent::ports::Asked;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;

use super::toy::{Diary, Job, Toy, ToyWorld};

/// The ends of an inbox that the test holds.
#[expect(clippy::box_collection, reason = "a queue holds boxes, whatever the event is")]
struct Ends {
    commands: mpsc::Sender<Box<String>>,
    asked: mpsc::Sender<Box<Asked>>,
    auth: watch::Sender<Arc<AuthView>>,
}

fn inbox() -> (Ends, Inbox<String>) {
    let (commands, orders) = mpsc::channel(8);
    let (asked, requests) = mpsc::channel(8);
    let (auth, views) = watch::channel(Arc::default());
    (Ends { commands, asked, auth }, Inbox { commands: orders, asked: Some(requests), auth: Some(views), game: None })
}

fn told(diary: &Diary) -> Vec<String> {
    diary.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_together_comes_in_the_order_of_its_weight() {
    let (ends, inbox) = inbox();
    let diary = Diary::default();
    let deadline = clock::now() + Duration::from_secs(1);
    let toy = Toy::new(&diary, &[Job::Quick], Some(deadline), 5);
    let mut running = Box::pin(drive(Box::new(toy), ToyWorld::new(&diary), inbox, Pulse::new()));
    // It begins its task and waits; then it is held up while everything happens.
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(running.as_mut().poll(&mut context), Poll::Pending));
    let (reply, _verdict) = oneshot::channel();
    ends.asked.try_send(Box::new(Asked { request: Request::ClientSeen, reply })).unwrap();
    ends.auth.send_replace(Arc::default());
    ends.commands.try_send(Box::new("command".to_owned())).unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    yield_now().await;
    running.await;
    assert_eq!(told(&diary), ["task", "command", "auth", "asked", "time"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_answered_for() {
    let (_ends, inbox) = inbox();
    let diary = Diary::default();
    let toy = Toy::new(&diary, &[Job::Panicking, Job::Quick], None, 2);
    drive(Box::new(toy), ToyWorld::new(&diary), inbox, Pulse::new()).await;
    let mut told = told(&diary);
    told.sort();
    assert_eq!(told, ["fallback", "task"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_taken_back_says_nothing() {
    let (ends, inbox) = inbox();
    let diary = Diary::default();
    let toy = Toy::new(&diary, &[Job::Endless], None, 3);
    ends.commands.try_send(Box::new("abort".to_owned())).unwrap();
    drive(Box::new(toy), ToyWorld::new(&diary), inbox, Pulse::new()).await;
    let quiet = "a turn for its own sake";
    assert_eq!(told(&diary), ["abort", "dropped", quiet, quiet], "no answer and no fallback");
}

#[tokio::test(start_paused = true)]
async fn the_state_is_shown_after_every_step_and_the_end_takes_everything_back() {
    let (ends, inbox) = inbox();
    let diary = Diary::default();
    for _ in 0..3 {
        ends.commands.try_send(Box::new("quick".to_owned())).unwrap();
    }
    let pulse = Pulse::new();
    let toy = Toy::new(&diary, &[Job::Endless], None, 4);
    let (world, _inbox) = drive(Box::new(toy), ToyWorld::new(&diary), inbox, pulse.clone()).await;
    assert_eq!(world.shown, [4, 3, 2, 1, 0]);
    assert!(!pulse.is_running());
    assert!(!told(&diary).contains(&"dropped".to_owned()), "it is taken back with its next turn");
    yield_now().await;
    assert_eq!(told(&diary).last().map(String::as_str), Some("dropped"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_loop_turns_so_that_its_pulse_is_young() {
    let (_ends, inbox) = inbox();
    let diary = Diary::default();
    let pulse = Pulse::new();
    let began = clock::now();
    let toy = Toy::new(&diary, &[], None, 3);
    drive(Box::new(toy), ToyWorld::new(&diary), inbox, pulse.clone()).await;
    assert_eq!(clock::now() - began, Duration::from_secs(15));
    assert!(pulse.age() < Duration::from_secs(1));
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(pulse.age().as_secs(), 20, "a loop that does not turn grows old");
}

#[tokio::test(start_paused = true)]
async fn a_closed_source_is_no_event() {
    let (ends, inbox) = inbox();
    drop(ends);
    let diary = Diary::default();
    let toy = Toy::new(&diary, &[], None, 2);
    let began = clock::now();
    drive(Box::new(toy), ToyWorld::new(&diary), inbox, Pulse::new()).await;
    assert_eq!(clock::now() - began, Duration::from_secs(10), "it waited, and did not spin");
}
