//! Instances that come and go by edits of `agent.d` and SIGHUP, and those that stay meanwhile.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rallyhere_agent::clock;
use rallyhere_agent::simulator::What;
use rustix::process::{Pid, Signal, kill_process};

use crate::Bench;
use crate::environment::{Environment, Watch};
use crate::many;
use crate::program::{Over, Place, Process};
use crate::start::millis;
use crate::stats::Sample;
use crate::table::{Table, figure};

/// How many stay, and how many come and go at a time.
const STAY: usize = 100;
const COME: usize = 10;
/// In seconds.
const CADENCE: u32 = 5;

pub(crate) async fn measure(bench: &Bench, table: &mut Table) {
    table.title(
        "Others come and go: 100 instances stay, cadence 5 s, and all the time ten more come and the ten before them go, by SIGHUP",
    );
    let environment = Environment::start(CADENCE, bench.dir.path());
    let place = bench.place();
    let stay: Vec<String> = (0..STAY).map(|_| environment.new_session()).collect();
    place.configure_many(&environment, Over::Http, &stay);
    let mut watch = environment.watch();
    let agent = place.agent(&place.own_copy(&bench.programs.agent));
    joinable(&mut watch, &stay).await;
    let (mut came, mut went) = (Sample::default(), Sample::default());
    let mut before: Option<(PathBuf, Vec<String>)> = None;
    let ends = clock::now() + Duration::from_secs(bench.size(40, 16) as u64);
    while clock::now() < ends {
        let fresh: Vec<String> = (0..COME).map(|_| environment.new_session()).collect();
        let drop_in = place.drop_in(came.len(), &fresh);
        if let Some((old, _)) = &before {
            std::fs::remove_file(old).unwrap();
        }
        let told = clock::now();
        hang_up(&agent);
        let (last_came, last_went) = turned(&mut watch, &fresh, before.as_ref().map(|(_, gone)| gone.as_slice())).await;
        came.push(millis(told, last_came));
        if let Some(last) = last_went {
            went.push(millis(told, last));
        }
        before = Some((drop_in, fresh));
    }
    table.runs(figure("SIGHUP to all ten joinable", "ms"), &came, None);
    table.runs(figure("SIGHUP to all ten before them gone", "ms"), &went, None);
    let stay: BTreeSet<&str> = stay.iter().map(String::as_str).collect();
    let gaps = many::gaps(&environment, |session| stay.contains(session));
    if gaps.len() > 0 {
        many::tell_gaps("those that stay", CADENCE, &[&gaps], table);
    }
}

fn hang_up(agent: &Process) {
    let pid = Pid::from_raw(i32::try_from(agent.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

async fn joinable(watch: &mut Watch, sessions: &[String]) {
    turned(watch, sessions, None).await;
}

/// Waits until these are joinable and those are gone: when the last of each was.
async fn turned(watch: &mut Watch, come: &[String], go: Option<&[String]>) -> (Instant, Option<Instant>) {
    let mut come: BTreeSet<&str> = come.iter().map(String::as_str).collect();
    let mut go: BTreeSet<&str> = go.into_iter().flatten().map(String::as_str).collect();
    let (mut last_came, mut last_went) = (clock::now(), None);
    while !come.is_empty() || !go.is_empty() {
        let seen = std::cell::RefCell::new(None);
        let at = watch
            .until("an instance that came or went", |what| {
                let turn = turn(what);
                let wanted = turn.is_some_and(|(session, _)| come.contains(session) || go.contains(session));
                if wanted {
                    seen.replace(turn.map(|(session, here)| (session.to_owned(), here)));
                }
                wanted
            })
            .await;
        match seen.into_inner() {
            Some((session, true)) if come.remove(session.as_str()) => last_came = at,
            Some((session, false)) if go.remove(session.as_str()) => last_went = Some(at),
            _ => {}
        }
    }
    (last_came, last_went)
}

/// Whose instance is there for players now, or is gone.
fn turn(what: &What) -> Option<(&str, bool)> {
    if let What::Updated { session_id, join_status, .. } = what
        && join_status == "joinable"
    {
        return Some((session_id, true));
    }
    if let What::Unregistered { session_id, .. } = what { Some((session_id, false)) } else { None }
}

impl Place {
    /// Writes a file of `agent.d` with an instance for each session.
    fn drop_in(&self, number: usize, sessions: &[String]) -> PathBuf {
        let dir = self.disk().join("agent.d");
        std::fs::create_dir_all(&dir).unwrap();
        let lines = sessions.iter().enumerate();
        let lines: Vec<String> = lines
            .map(|(at, session)| format!("instances.come-{number}-{at}.instance.session_id = \"{session}\"\n"))
            .collect();
        let path = dir.join(format!("{number}.toml"));
        std::fs::write(&path, lines.concat()).unwrap();
        path
    }
}
