//! One request, from its head to its answer: ledger, outage, fault, gate, call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};

use super::arrived::Arrived;
use super::body::{AnswerBody, Cut, Manner};
use super::contract::{self, Kind, Route};
use super::fault::{Fault, Injection};
use super::happening::What;
use super::ledger::{Authorization, Outcome, RequestRecord};
use super::reply::Reply;
use super::session::Moment;
use super::world::Checked;
use super::{Outage, Simulator, control_api};
use crate::clock;

/// The most bytes of a request's body.
const BODY_LIMIT: usize = 1 << 20;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A request's entry in the ledger: whatever happens, it is closed.
struct Entry {
    simulator: Simulator,
    number: u64,
    open: bool,
}

impl Entry {
    fn open(simulator: &Simulator, arrived: &Arrived, call: Option<&'static str>) -> Self {
        let mut world = simulator.world();
        let at_ms = world.elapsed_ms(clock::now());
        let number = world.ledger.arrived(RequestRecord {
            number: 0,
            at_ms,
            ended_ms: None,
            method: arrived.method.clone(),
            path: arrived.path.clone(),
            query: arrived.query.clone(),
            call,
            status: None,
            client: None,
            authorization: Authorization::NotChecked,
            processed: false,
            fault: None,
            outcome: Outcome::Open,
            body: None,
        });
        drop(world);
        Self { simulator: simulator.clone(), number, open: true }
    }

    fn change(&self, change: impl FnOnce(&mut RequestRecord)) {
        if let Some(record) = self.simulator.world().ledger.request(self.number) {
            change(record);
        }
    }

    fn close(mut self, outcome: Outcome, status: Option<StatusCode>) {
        self.open = false;
        self.end(outcome, status);
    }

    fn end(&self, outcome: Outcome, status: Option<StatusCode>) {
        let mut world = self.simulator.world();
        let ended = world.elapsed_ms(clock::now());
        if let Some(record) = world.ledger.request(self.number) {
            record.ended_ms = Some(ended);
            record.outcome = outcome;
            record.status = status.map(|status| status.as_u16());
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.open {
            self.end(Outcome::Abandoned, None);
        }
    }
}

/// Answers a request, or says that its connection must be cut. `control` remembers whether the connection's last request
/// was for the control API, which an outage spares.
pub(super) async fn answer(
    simulator: Simulator,
    request: Request<Incoming>,
    peer: SocketAddr,
    control: Arc<AtomicBool>,
) -> Result<Response<AnswerBody>, Cut> {
    let (parts, incoming) = request.into_parts();
    let mut arrived = Arrived::head(&parts, peer);
    let is_control = control_api::is_control(&arrived.path);
    control.store(is_control, Ordering::Relaxed);
    if is_control {
        let reply = match body(incoming).await? {
            Ok(body) => {
                arrived.body = body;
                control_api::answer(&simulator, &arrived)
            }
            Err(too_large) => too_large,
        };
        return Ok(whole(reply));
    }
    let generation = simulator.generation();
    let route = contract::route(generation, &arrived.method, &arrived.path);
    let name = contract::name(generation, &arrived.method, &arrived.path);
    let entry = Entry::open(&simulator, &arrived, name);
    let outage = simulator.outage();
    if outage == Outage::Refuse {
        entry.close(Outcome::Refused, None);
        return Err(Cut);
    }
    match body(incoming).await? {
        Ok(body) => arrived.body = body,
        Err(too_large) => {
            entry.close(Outcome::Answered, Some(too_large.status));
            return Ok(whole(too_large));
        }
    }
    let injection = if outage == Outage::Unavailable {
        Some(Injection { fault: Fault::status(503), processed: false })
    } else {
        simulator.world().faults.strike(&arrived.method, &arrived.path, name)
    };
    respond(&simulator, entry, &route, name, &arrived, injection).await
}

/// The gate and the call, as far as the fault lets them, and then the fault.
async fn respond(
    simulator: &Simulator,
    entry: Entry,
    route: &Route,
    name: Option<&'static str>,
    arrived: &Arrived,
    injection: Option<Injection>,
) -> Result<Response<AnswerBody>, Cut> {
    if let Some(injection) = &injection {
        let fault = injection.fault.name();
        entry.change(|record| record.fault = Some(fault));
        let call = name.unwrap_or_default().to_owned();
        simulator.world().tell(What::Fault { call, fault: fault.to_owned() }, clock::now());
        if let Fault::Delay { ms } = injection.fault {
            clock::sleep(Duration::from_millis(ms)).await;
        }
    }
    let processed = injection.as_ref().is_none_or(|injection| injection.processed);
    let examined = match route {
        Route::Call(operation, parts) => {
            simulator.world().examine(entry.number, operation, parts, arrived, processed, Moment::read())
        }
        Route::WrongMethod(allowed) => Err(Reply::wrong_method(allowed)),
        Route::Unknown => Err(Reply::bare(StatusCode::NOT_FOUND)),
        Route::NotPlayed => Err(Reply::bare(StatusCode::NOT_IMPLEMENTED)),
    };
    let reply = match examined {
        Ok(checked) if processed => {
            entry.change(|record| record.processed = true);
            call(simulator, &checked).await
        }
        Ok(_) => Reply::no_content(),
        Err(refused) => refused,
    };
    let Some(Injection { fault, .. }) = injection else {
        entry.close(Outcome::Answered, Some(reply.status));
        return Ok(whole(reply));
    };
    let reply = match fault.reply() {
        Ok(Some(other)) => other,
        // A rule with a bad answer is refused when it is made.
        Ok(None) | Err(_) => reply,
    };
    let manner = match fault {
        Fault::Status { .. } | Fault::Garbage { .. } | Fault::Redirect { .. } | Fault::Delay { .. } => Manner::Whole,
        Fault::SlowBody { chunk, every_ms } => Manner::Slow { chunk, every: Duration::from_millis(every_ms) },
        Fault::Oversize { bytes } => Manner::Padded { bytes },
        Fault::CutBody { after } if !reply.body.is_empty() => Manner::Cut { after: after.min(reply.body.len() - 1) },
        Fault::Cut {} | Fault::CutBody { .. } => {
            entry.close(Outcome::Cut, None);
            return Err(Cut);
        }
        Fault::Hang {} => return std::future::pending().await,
    };
    let outcome = if matches!(manner, Manner::Cut { .. }) { Outcome::Cut } else { Outcome::Answered };
    entry.close(outcome, Some(reply.status));
    Ok(reply.response(AnswerBody::new(reply.body.clone(), manner)))
}

async fn call(simulator: &Simulator, checked: &Checked) -> Reply {
    if checked.kind == Kind::Poll {
        poll(simulator, checked).await
    } else {
        simulator.world().act(checked, Moment::read())
    }
}

/// The long poll: holds the request until something is written or its time is over.
async fn poll(simulator: &Simulator, checked: &Checked) -> Reply {
    let begun = simulator.world().poll(checked, Moment::read());
    let mut polling = match begun {
        Ok(polling) => polling,
        Err(refused) => return refused,
    };
    loop {
        // Seen before the look, so that what is written during it wakes us.
        polling.written.borrow_and_update();
        if let Some(reply) = simulator.world().polled(&polling, Moment::read()) {
            return reply;
        }
        tokio::select! {
            written = polling.written.changed() => {
                if written.is_err() {
                    clock::sleep_until(polling.until).await;
                }
            }
            () = clock::sleep_until(polling.until) => {}
        }
    }
}

/// The body of a request; the inner error is the answer to one that is too large.
async fn body(incoming: Incoming) -> Result<Result<Bytes, Reply>, Cut> {
    let collected = tokio::select! {
        collected = Limited::new(incoming, BODY_LIMIT).collect() => collected,
        () = clock::sleep(BODY_TIME) => return Err(Cut),
    };
    match collected {
        Ok(body) => Ok(Ok(body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(Err(Reply::bare(StatusCode::PAYLOAD_TOO_LARGE))),
        Err(_broken) => Err(Cut),
    }
}

fn whole(reply: Reply) -> Response<AnswerBody> {
    reply.response(AnswerBody::new(reply.body.clone(), Manner::Whole))
}
