//! The story: what is done in which order, and what must have happened before the next.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use super::timeline::{Line, Sign, Timeline};
use super::{DemoError, Running, SESSION, STEP, Terminal};
use crate::clock;
use crate::exit::Exit;
use crate::simulator::{Generation, Simulator};

/// The teller.
pub(super) struct Script<'a, 't> {
    pub(super) terminal: &'a mut Terminal<'t>,
    pub(super) timeline: Timeline,
    pub(super) simulator: &'a Simulator,
    /// Fubar reports that were seen, by whatever way they came.
    pub(super) reports: usize,
}

impl Script<'_, '_> {
    pub(super) fn title(&mut self) -> Result<(), DemoError> {
        self.say("rallyhere-agent demo: a simulated RallyHere environment, a small game, and the agent between them.\n")
    }

    /// The story of the short demo.
    pub(super) async fn play(&mut self, running: &Running) -> Result<(), DemoError> {
        self.until(Sign::Joinable, "the instance to be joinable").await?;
        self.until(Sign::Health, "a health post").await?;
        self.until(Sign::Health, "a second health post").await?;
        self.publish("a friend wants to join")?;
        self.until(Sign::Acknowledged, "the game to acknowledge the notification").await?;
        self.publish("test your crash handler")?;
        self.until(Sign::Fubar, "the fubar report at the backend").await?;
        self.until(Sign::Acknowledged, "the game to acknowledge the notification").await?;
        debug_assert!(running.stations.len() == 1, "the demo hosts one instance");
        self.told("demo", "now the operator stops the agent, as `systemctl stop` would")
    }

    /// The story of `--hold`: until Ctrl-C.
    pub(super) async fn hold(
        &mut self,
        running: &Running,
        environment: SocketAddr,
        socket: &Path,
    ) -> Result<(), DemoError> {
        self.until(Sign::Joinable, "the instance to be joinable").await?;
        let socket = socket.display();
        self.say(&format!(
            "\nIt holds until Ctrl-C. Play with it from another terminal:\n\n  rallyhere-agent status --socket {socket}"
        ))?;
        self.say(&format!("  curl --unix-socket {socket} http://localhost/v1/status"))?;
        for tcp in running.stations.iter().filter_map(|station| station.local.tcp) {
            self.say(&format!("  curl http://{tcp}/v1/notifications?wait=25"))?;
        }
        if let Some(admin) = running.admin {
            self.say(&format!("  curl http://{admin}/readyz"))?;
        }
        self.say(&format!(
            "  curl -X POST http://{environment}/_sim/notifications -d \
             '{{\"session_id\":\"{SESSION}\",\"notifications\":[{{\"message\":\"hello\"}}]}}'"
        ))?;
        self.say(&format!("  curl http://{environment}/_sim/ledger\n"))?;
        let mut stopped = std::pin::pin!(crate::cli::simulate::stopped());
        loop {
            let line = tokio::select! {
                biased;
                () = stopped.as_mut() => return Ok(()),
                line = self.timeline.next() => line,
            };
            if line.sign != Some(Sign::Health) {
                self.tell(&line)?;
            }
        }
    }

    /// The end: everything is taken down, and the agent's exit code is shown.
    pub(super) async fn end(&mut self, running: Running) -> Result<(), DemoError> {
        let limit = clock::now() + STEP;
        let mut finish = std::pin::pin!(running.finish(Exit::Done));
        let exit = loop {
            let line = tokio::select! {
                biased;
                line = self.timeline.next() => line,
                exit = finish.as_mut() => break exit,
                () = clock::sleep_until(Some(limit)) => return Err(late("the agent to end")),
            };
            self.tell(&line)?;
        };
        if exit != Exit::Done {
            return Err(DemoError::Ended(exit.code()));
        }
        self.told("agent", "ended with exit code 0")?;
        let ledger = self.simulator.ledger();
        self.say(&format!(
            "\n{} requests, all valid against the contract ({} rejected); {} health posts, {} fubar report, {} login.",
            ledger.requests.len(),
            ledger.rejections.len(),
            ledger.health.len(),
            self.reports,
            ledger.logins.len(),
        ))
    }

    fn publish(&mut self, message: &str) -> Result<(), DemoError> {
        let published = if self.simulator.generation() == Generation::V2026_08 {
            self.simulator.change_session(SESSION, &json!({ "news": message }))
        } else {
            self.simulator.publish_to_session(SESSION, &[json!({ "message": message })]).map(|_ids| ())
        };
        match published {
            Ok(()) => Ok(()),
            Err(error) => Err(DemoError::Io { what: "publish a notification", source: std::io::Error::other(error) }),
        }
    }

    /// Tells the story until a sign is seen.
    async fn until(&mut self, sign: Sign, what: &str) -> Result<(), DemoError> {
        let limit = clock::now() + STEP;
        loop {
            let line = tokio::select! {
                biased;
                line = self.timeline.next() => line,
                () = clock::sleep_until(Some(limit)) => return Err(late(what)),
            };
            self.tell(&line)?;
            if line.sign == Some(sign) {
                self.reports += usize::from(sign == Sign::Fubar);
                return Ok(());
            }
        }
    }

    fn tell(&mut self, line: &Line) -> Result<(), DemoError> {
        self.told(line.who, &line.words)
    }

    fn told(&mut self, who: &str, words: &str) -> Result<(), DemoError> {
        let seconds = self.timeline.age().as_secs_f64();
        self.say(&format!("{seconds:7.3} s  {who:<8} {words}"))
    }

    fn say(&mut self, line: &str) -> Result<(), DemoError> {
        self.terminal.say(line).map_err(DemoError::Output)
    }
}

fn late(what: &str) -> DemoError {
    DemoError::Late { what: what.to_owned(), seconds: STEP.as_secs() }
}
