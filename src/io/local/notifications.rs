//! Handing notifications to the game: the list, which waits for the first one, and the acknowledgement.
//!
//! A notification is handed out until it is acknowledged. Who asks again without acknowledging gets the same ones again;
//! who wants to look ahead says `after=ID`. An id that is not in the inbox (acknowledged long ago, or never seen) means:
//! everything that waits, because what waits is newer than what was acknowledged.
//!
//! Where notifications are pushed (`notifications.deliver`), the list still shows what waits, and an acknowledgement still counts:
//! whoever acknowledges first has it. One that was pushed and refused too often is in no list but that of those set aside.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::body::{Shape, Strict};
use super::refusal::{Refusal, json, json_of};
use super::routes::{Api, Game, given};
use super::server::closed;
use crate::clock;
use crate::core::durable::SetAside;
use crate::core::event::{Granted, Request};
use crate::core::ids::NotificationId;
use crate::core::instance::Notification;
use crate::core::phase::Phase;

/// Once an answer has so many bytes it takes no more notifications; the caller asks again for the rest.
const PAGE_BYTES: usize = 256 * 1024;
/// The longest wait, in seconds.
const WAIT_LIMIT: u64 = 300;
/// The most notifications of an answer, and how many there are if nothing is said.
const COUNT_LIMIT: usize = 1000;
const COUNT_DEFAULT: usize = 100;

/// What waits for the game, oldest first.
pub(super) type Inbox = VecDeque<Arc<Notification>>;
/// A query as it was written, decoded; a query that cannot be decoded is refused.
pub(super) type RawQuery = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// What waits behind `after`, oldest first.
pub(super) fn fresh<'a>(inbox: &'a Inbox, after: Option<&str>) -> impl Iterator<Item = &'a Arc<Notification>> {
    let seen = after.and_then(|after| inbox.iter().rposition(|waiting| waiting.notification_id.as_str() == after));
    inbox.iter().skip(seen.map_or(0, |seen| seen + 1))
}

/// The parameters of GET /v1/notifications.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// How long to wait for the first one; 0 if nothing is said.
    pub(super) wait: Duration,
    pub(super) limit: usize,
    pub(super) after: Option<String>,
}

impl Wanted {
    fn read(query: RawQuery) -> Result<Self, Refusal> {
        let Query(pairs) = query.map_err(|error| Refusal::field("query", error.body_text()))?;
        let mut wanted = Self { wait: Duration::ZERO, limit: COUNT_DEFAULT, after: None };
        for (name, value) in pairs {
            match name.as_str() {
                "wait" => wanted.wait = Duration::from_secs(number("wait", &value, 0, WAIT_LIMIT)?),
                "limit" => {
                    let limit = number("limit", &value, 1, COUNT_LIMIT as u64)?;
                    wanted.limit = usize::try_from(limit).unwrap_or(COUNT_LIMIT);
                }
                "after" => wanted.after = after(value),
                other => {
                    return Err(Refusal::field(
                        other,
                        "is not a parameter of this call; it takes wait, limit and after",
                    ));
                }
            }
        }
        Ok(wanted)
    }
}

fn number(field: &str, text: &str, least: u64, most: u64) -> Result<u64, Refusal> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(Refusal::field(field, format!("must be a whole number from {least} to {most}"))),
    }
}

/// An id to go on after; an empty one is none.
pub(super) fn after(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// GET /v1/notifications
pub(super) async fn list(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    query: RawQuery,
) -> Result<Response, Refusal> {
    let wanted = Wanted::read(query)?;
    let deadline = clock::now() + wanted.wait;
    let mut snapshots = api.handle().snapshots.clone();
    let mut closing = api.closing();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        if let Some((page, count)) = page(&snapshot.notifications.inbox, &wanted)? {
            let inbox = fresh(&snapshot.notifications.inbox, wanted.after.as_deref());
            given(api.meter(), snapshot.instance.instance_id.as_ref(), inbox.take(count));
            return Ok(json(StatusCode::OK, page));
        }
        if snapshot.phase == Phase::Superseded {
            return Err(Refusal::unavailable("superseded", "somebody else holds the session: this instance is over"));
        }
        // Nothing is lost if the caller hangs up here: what waits goes on waiting in the inbox.
        tokio::select! {
            biased;
            changed = snapshots.changed() => if changed.is_err() {
                return Err(Refusal::unavailable("ended", "the instance has ended: no notification will come any more"));
            },
            () = closed(&mut closing) => break,
            () = clock::sleep_until(Some(deadline)) => break,
        }
    }
    Ok(json(StatusCode::OK, r#"{"notifications":[]}"#))
}

/// The answer, and how many are in it, if there is something to say.
pub(super) fn page(inbox: &Inbox, wanted: &Wanted) -> Result<Option<(Vec<u8>, usize)>, Refusal> {
    let mut page = Vec::from(*br#"{"notifications":["#);
    let begin = page.len();
    let mut count = 0;
    for notification in fresh(inbox, wanted.after.as_deref()).take(wanted.limit) {
        if page.len() > begin {
            page.push(b',');
        }
        write(&mut page, notification)?;
        count += 1;
        if page.len() >= PAGE_BYTES {
            break;
        }
    }
    if page.len() == begin {
        return Ok(None);
    }
    page.extend_from_slice(b"]}");
    Ok(Some((page, count)))
}

/// Writes one as JSON, in one line.
pub(super) fn write(to: &mut Vec<u8>, notification: &Notification) -> Result<(), Refusal> {
    serde_json::to_writer(to, notification)
        .map_err(|error| Refusal::internal(format!("a notification could not be written: {error}")))
}

/// GET /v1/notifications/set_aside: an operator looks, so no game is there because of it.
pub(super) async fn set_aside(Extension(api): Extension<Arc<Api>>) -> Response {
    #[derive(Serialize)]
    struct Answer<'a> {
        set_aside: &'a VecDeque<SetAside>,
    }
    let snapshot = api.handle().snapshot();
    json_of(StatusCode::OK, &Answer { set_aside: &snapshot.notifications.hand_off.set_aside })
}

/// The body of POST /v1/notifications/ack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AckBody {
    notification_id: String,
}

impl Shape for AckBody {
    fn empty() -> Option<Self> {
        None
    }
}

#[derive(Debug, Serialize)]
struct AckAnswer {
    acknowledged: usize,
}

/// POST /v1/notifications/ack
pub(super) async fn ack(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    Strict(body): Strict<AckBody>,
) -> Result<Response, Refusal> {
    let id = NotificationId::parse(&body.notification_id).map_err(|error| Refusal::field("notification_id", error))?;
    let acknowledged = match api.ask(Request::Ack(id)).await? {
        Granted::Acknowledged(count) => count,
        Granted::Done | Granted::Accepted(_) | Granted::Draining | Granted::Allocated { .. } => 0,
    };
    Ok(json_of(StatusCode::OK, &AckAnswer { acknowledged }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(ids: &[&str]) -> Inbox {
        let made = |id: &&str| {
            Arc::new(Notification {
                notification_id: NotificationId::parse(id).unwrap(),
                created: "2026-01-01T00:00:00Z".to_owned(),
                message: "m".repeat(1000),
                rh_url: None,
                etag: None,
                custom_data: [].into(),
            })
        };
        ids.iter().map(made).collect()
    }

    fn ids(inbox: &Inbox, after: Option<&str>) -> Vec<String> {
        fresh(inbox, after).map(|waiting| waiting.notification_id.to_string()).collect()
    }

    #[test]
    fn what_waits_behind_an_id_is_what_is_newer() {
        let inbox = inbox(&["4", "5", "6"]);
        assert_eq!(ids(&inbox, None), ["4", "5", "6"]);
        assert_eq!(ids(&inbox, Some("4")), ["5", "6"]);
        assert_eq!(ids(&inbox, Some("6")), [""; 0]);
        assert_eq!(ids(&inbox, Some("3")), ["4", "5", "6"], "acknowledged already: all that waits is newer");
    }

    #[test]
    fn a_page_ends_at_its_size_but_has_at_least_one() {
        let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let inbox = inbox(&many.iter().map(String::as_str).collect::<Vec<_>>());
        let wanted = Wanted { wait: Duration::ZERO, limit: 1000, after: None };
        let (page, count) = page(&inbox, &wanted).unwrap().unwrap();
        assert!(page.len() >= PAGE_BYTES && page.len() < PAGE_BYTES + 2000, "{}", page.len());
        let read: serde_json::Value = serde_json::from_slice(&page).unwrap();
        assert!(count > 200);
        assert_eq!(read["notifications"].as_array().unwrap().len(), count);
    }
}
