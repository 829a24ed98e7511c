//! From the backend's write to the game: simulator.publish to the answer of GET /v1/notifications on the Unix socket.
//!
//! The floor polls too, and writes each page to a Unix socket at once, without keeping it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rallyhere_agent::clock;
use rallyhere_agent::simulator::{Outcome, Simulator};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;

use crate::Bench;
use crate::calls::syncs;
use crate::door::Door;
use crate::environment::{Environment, within};
use crate::program::{Hosted, Over, Place, Process};
use crate::start::{is_health, is_joinable, millis};
use crate::stats::{Rounds, Sample};
use crate::table::{Table, figure};

/// Parts of all notifications.
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];
/// Of the stream, a second.
const RATE: f64 = 200.0;

pub(crate) async fn measure(bench: &Bench, table: &mut Table) {
    // With an environment for each, what one of them publishes never wakes the other.
    let environments = [(); 2].map(|()| Environment::start(10, bench.dir.path()));
    let mut agent = Game::of_agent(bench, &environments[0]).await;
    let mut floor = Game::of_floor(bench, &environments[1]).await;
    let count = bench.size(400, 100);
    let mut quiet = (Rounds::default(), Rounds::default());
    let mut stream = (Rounds::default(), Rounds::default());
    let mut disk = Rounds::default();
    for _ in 0..bench.size(5, 2) {
        quiet.0.push(agent.one_by_one(count).await);
        stream.0.push(agent.stream(count).await);
        disk.push(syncs(agent.place.disk(), count));
        if let Some(floor) = &mut floor {
            quiet.1.push(floor.one_by_one(count).await);
            stream.1.push(floor.stream(count).await);
        }
    }
    for (title, (ours, floors)) in [
        ("Hand-off: one notification, everybody waiting for it", quiet),
        ("Hand-off: 200 notifications a second at random moments, each acknowledged", stream),
    ] {
        table.title(title);
        let floors = floor.is_some().then_some(&floors);
        for part in QUANTILES {
            let figure = figure("publish to the game", "ms").at(part);
            let figure = if part == 0.99 { figure.at_most(5.0).at_most_of_floor(3.0) } else { figure };
            table.quantile(figure, &ours, part, floors);
        }
    }
    table.title("The disk in between: an agent hands over only what it has synced, the floor syncs nothing");
    for part in QUANTILES {
        table.quantile(figure("fdatasync of 200 bytes", "ms").at(part), &disk, part, None);
    }
}

/// A game, and who hands it its notifications.
struct Game {
    simulator: Simulator,
    instance: String,
    way: Way,
    _process: Process,
    place: Place,
}

enum Way {
    /// One connection for the long wait, one for the acknowledgements.
    Agent {
        waits: Door,
        acks: Door,
        last: String,
    },
    Floor {
        pages: BufReader<UnixStream>,
    },
}

impl Game {
    async fn of_agent(bench: &Bench, environment: &Environment) -> Self {
        let (place, session) = (bench.place(), environment.new_session());
        place.configure(environment, Over::Http, &session);
        let mut watch = environment.watch();
        let process = place.agent(&bench.programs.agent);
        let (_, mut waits) = place.ready().await;
        waits.call("POST", "/v1/ready", "").await;
        watch.until("joinable", |what| is_joinable(what, &session)).await;
        let status = waits.call("GET", "/v1/status", "").await;
        let instance = status["instance"]["instance_id"].as_str().expect("an instance").to_owned();
        let way = Way::Agent { waits, acks: Door::open(&place.socket()).await, last: String::new() };
        Self { simulator: environment.simulator.clone(), instance, way, _process: process, place }
    }

    async fn of_floor(bench: &Bench, environment: &Environment) -> Option<Self> {
        let binary = bench.programs.floor.as_ref()?;
        let (place, session, token) = (bench.place(), environment.new_session(), environment.token().await);
        environment.register(&token, &session, &session).await;
        let mut watch = environment.watch();
        let hosted = Hosted { token: &token, session: &session, instance: &session, cadence: 10, game: true };
        let process = place.floor(binary, environment, Over::Http, &hosted);
        watch.until("a health post of the floor", |what| is_health(what, &session)).await;
        let socket: PathBuf = place.socket();
        let pages = BufReader::new(UnixStream::connect(socket).await.unwrap());
        let (simulator, way) = (environment.simulator.clone(), Way::Floor { pages });
        Some(Self { simulator, instance: session, way, _process: process, place })
    }

    /// Publishes when everybody waits: the poll at the backend, and the game.
    async fn one_by_one(&mut self, count: usize) -> Sample {
        let mut sample = Sample::default();
        let mut polled = 0;
        for _ in 0..count {
            self.way.ask().await;
            polled = within("the next poll", open_poll(&self.simulator, &self.instance, polled)).await;
            let published = clock::now();
            publish(&self.simulator, &self.instance, 0);
            let page = self.way.page().await;
            sample.push(millis(published, clock::now()));
            assert_eq!(page.len(), 1, "one was published");
            self.way.acknowledge().await;
            self.way.acknowledged().await;
        }
        sample
    }

    /// Publishes at moments that nobody can foresee, whatever the game does.
    async fn stream(&mut self, count: usize) -> Sample {
        let moments: RefCell<Vec<Instant>> = RefCell::default();
        let (simulator, instance, way) = (&self.simulator, &self.instance, &mut self.way);
        let publishing = async {
            let mut random = fastrand::Rng::with_seed(7);
            let mut next = clock::now();
            for number in 0..count {
                next += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / RATE);
                clock::sleep_until(Some(next)).await;
                moments.borrow_mut().push(clock::now());
                publish(simulator, instance, number);
            }
        };
        let receiving = async {
            let mut sample = Sample::default();
            way.ask().await;
            while sample.len() < count {
                let page = way.page().await;
                let came = clock::now();
                for notification in page {
                    let number: usize = notification["message"].as_str().unwrap().parse().unwrap();
                    sample.push(millis(moments.borrow()[number], came));
                }
                // The next wait stands before the disk has the acknowledgement.
                way.acknowledge().await;
                if sample.len() < count {
                    way.ask().await;
                }
                way.acknowledged().await;
            }
            sample
        };
        tokio::join!(publishing, receiving).1
    }
}

impl Way {
    async fn ask(&mut self) {
        match self {
            Self::Agent { waits, last, .. } => {
                let after = utf8_percent_encode(last, NON_ALPHANUMERIC);
                waits.send("GET", &format!("/v1/notifications?wait=25&after={after}"), "").await;
            }
            Self::Floor { .. } => {}
        }
    }

    async fn page(&mut self) -> Vec<Value> {
        let mut page = match self {
            Self::Agent { waits, .. } => waits.answer().await,
            Self::Floor { pages } => {
                let mut line = String::new();
                within("a page of the floor", pages.read_line(&mut line)).await.unwrap();
                serde_json::from_str(&line).unwrap()
            }
        };
        let Value::Array(page) = page["notifications"].take() else { panic!("no list") };
        if let (Self::Agent { last, .. }, Some(newest)) = (self, page.last()) {
            *last = newest["notification_id"].as_str().unwrap().to_owned();
        }
        page
    }

    async fn acknowledge(&mut self) {
        if let Self::Agent { acks, last, .. } = self {
            acks.send("POST", "/v1/notifications/ack", &json!({"notification_id": last}).to_string()).await;
        }
    }

    async fn acknowledged(&mut self) {
        if let Self::Agent { acks, .. } = self {
            acks.answer().await;
        }
    }
}

/// Waits until a poll later than `before` is open at the backend, and gives its number.
async fn open_poll(simulator: &Simulator, instance: &str, before: u64) -> u64 {
    loop {
        let open = simulator.read_ledger(|ledger| {
            let polls = ledger.requests.iter().rev().take_while(|request| request.number > before);
            let mut open = polls.filter(|request| request.call == Some("poll") && request.outcome == Outcome::Open);
            open.find(|request| request.path.contains(instance)).map(|request| request.number)
        });
        match open {
            Some(number) => return number,
            None => clock::sleep(Duration::from_millis(1)).await,
        }
    }
}

fn publish(simulator: &Simulator, instance: &str, number: usize) {
    simulator.publish(instance, &[json!({"message": number.to_string()})]).unwrap();
}
