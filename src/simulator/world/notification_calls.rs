//! The notifications of an instance: pages, single ones, and the long poll.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Checked, World};
use crate::simulator::happening::What;
use crate::simulator::options::check_id;
use crate::simulator::reply::Reply;
use crate::simulator::session::Moment;
use crate::simulator::stream::{Reset, Stream};

/// A long poll that waits.
#[derive(Debug)]
pub(in crate::simulator) struct Polling {
    instance: String,
    /// After which position it reads: fixed when it began.
    position: u64,
    limit: usize,
    /// When it is answered, notifications or not.
    pub(in crate::simulator) until: Option<Instant>,
    /// Tells that the stream was written.
    pub(in crate::simulator) written: watch::Receiver<u64>,
}

impl World {
    pub(super) fn list_notifications(&mut self, call: &Checked) -> Result<Reply, Reply> {
        let (start_at, exclude_before) = (call.given("start_at"), call.given("exclude_before"));
        let page = self.stream(call)?.page(start_at, exclude_before, call.number("page_size", 10));
        let document = json!({"notifications": page});
        Ok(Reply::ok(&document).tagged(&super::config_calls::etag(&document), call.tag()))
    }

    pub(super) fn get_notification(&mut self, call: &Checked) -> Result<Reply, Reply> {
        let found = self.stream(call)?.get(call.text("notification_id"));
        found
            .map(|document| Reply::ok(&document))
            .ok_or_else(|| Reply::not_found("resource_not_found", "Notification could not be found"))
    }

    pub(super) fn create_notifications(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        self.stream(call)?;
        let ids = self.write(call.text("instance_id"), &call.body, moment);
        Ok(Reply::ok(&json!({"notification_id": ids.last()})))
    }

    /// Writes checked NotificationCreates to a stream; gives the new ids, oldest first.
    pub(super) fn write(&mut self, instance: &str, body: &Value, moment: Moment) -> Vec<String> {
        let mut ids = Vec::new();
        for created in body.get("notifications").and_then(Value::as_array).into_iter().flatten() {
            let (tag, keep) = (self.rng.u16(..), self.notifications_kept);
            let stream = self.streams.entry(instance.to_owned()).or_default();
            let notification_id = stream.publish(created, moment.wall, tag, keep);
            ids.push(notification_id.clone());
            let message = created.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
            self.tell(What::Published { instance_id: instance.to_owned(), notification_id, message }, moment.now);
        }
        ids
    }

    /// Begins a long poll. Where it reads from is decided here and not when something comes.
    pub(in crate::simulator) fn poll(&mut self, call: &Checked, moment: Moment) -> Result<Polling, Reply> {
        let reset =
            if call.given("offset_reset_strategy") == Some("earliest") { Reset::Earliest } else { Reset::Latest };
        let deadline = u64::try_from(call.number("deadline", 30)).unwrap_or(u64::MAX);
        let stream = self.stream(call)?;
        Ok(Polling {
            instance: call.text("instance_id").to_owned(),
            position: stream.start(call.given("exclude_before"), reset),
            limit: call.number("max_page_size", 10),
            until: moment.now.checked_add(Duration::from_secs(deadline)),
            written: stream.watch(),
        })
    }

    /// The answer, if there is something to say or the time is over.
    pub(in crate::simulator) fn polled(&mut self, polling: &Polling, moment: Moment) -> Option<Reply> {
        let stream = self.streams.get(&polling.instance);
        let page = stream.map(|stream| stream.after(polling.position, polling.limit)).unwrap_or_default();
        if page.is_empty() && polling.until.is_none_or(|until| moment.now < until) {
            return None;
        }
        self.tell(What::Polled { instance_id: polling.instance.clone(), notifications: page.len() }, moment.now);
        Some(Reply::ok(&json!({"notifications": page})))
    }

    /// A long poll that does not wait.
    pub(super) fn poll_once(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let polling = Polling { until: Some(moment.now), ..self.poll(call, moment)? };
        self.polled(&polling, moment).ok_or_else(Reply::no_content)
    }

    /// The stream of the instance in the path. Any id has one: notifications may come before the instance does.
    fn stream(&mut self, call: &Checked) -> Result<&mut Stream, Reply> {
        let id = call.text("instance_id");
        if check_id("the instance id", id).is_err() {
            return Err(Reply::error(StatusCode::BAD_REQUEST, true, "bad_id", "Passed client id is not a valid id"));
        }
        Ok(self.streams.entry(id.to_owned()).or_default())
    }
}
