//! Any notifications at all, as the game gets them: one notification is one event of the stream, one entry of a page and one line
//! of `notifications --follow`, and says what came, whatever stands in it.
//!
//! An input is texts between bytes 255, seven for a notification: its id, when it was made, the message, the resource, the etag,
//! and the name and the text of an entry of its custom_data.

use std::collections::BTreeSet;
use std::sync::Arc;

use rallyhere_agent::cli::notification_lines;
use rallyhere_agent::core::ids::{Etag, NotificationId};
use rallyhere_agent::core::instance::Notification;
use rallyhere_agent::io::local::trial::handed;
use serde_json::Value;

/// How many notifications these bytes made.
pub(crate) fn hold(input: &[u8]) -> usize {
    let notifications = notifications(input);
    let handed = handed(&notifications, 3);

    let stream: Vec<u8> = handed.frames.concat();
    let events = events(std::str::from_utf8(&stream).expect("a stream is UTF-8"));
    assert_eq!(events.len(), notifications.len(), "{stream:?}");
    for (event, notification) in events.iter().zip(&notifications) {
        assert_eq!(event.id, notification.notification_id.as_str());
        same(&event.data, notification);
    }

    let lines: Vec<String> = handed.pages.iter().flat_map(|page| notification_lines(page).expect("a page")).collect();
    assert_eq!(lines.len(), notifications.len());
    for (line, notification) in lines.iter().zip(&notifications) {
        assert!(!line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{line:?}");
        same(line, notification);
    }
    notifications.len()
}

fn notifications(input: &[u8]) -> Vec<Arc<Notification>> {
    let texts: Vec<String> =
        input.split(|byte| *byte == 255).map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let mut seen = BTreeSet::new();
    let made = texts.chunks(7).filter_map(|texts| {
        let text = |at: usize| texts.get(at).cloned().unwrap_or_default();
        let notification_id = NotificationId::parse(&text(0)).ok().filter(|id| seen.insert(id.to_string()))?;
        Some(Arc::new(Notification {
            notification_id,
            created: text(1),
            message: text(2),
            rh_url: Some(text(3)).filter(|url| !url.is_empty()),
            etag: Etag::parse(&text(4)).ok(),
            custom_data: if texts.len() > 5 { [(text(5), text(6))].into() } else { [].into() },
        }))
    });
    made.collect()
}

/// The JSON says all of it, and nothing else.
fn same(json: &str, notification: &Notification) {
    let read: Notification = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json:?}"));
    assert_eq!(&read, notification);
    let fields: Value = serde_json::from_str(json).expect("it was read");
    assert!(fields.as_object().is_some_and(|fields| fields.len() <= 6), "{json:?}");
}

#[derive(Default)]
struct Event {
    id: String,
    data: String,
}

/// Reads a stream as the WHATWG's standard says ("9.2.6 Interpreting an event stream").
fn events(stream: &str) -> Vec<Event> {
    let (mut events, mut data, mut id, mut sort) = (Vec::new(), None::<String>, String::new(), String::new());
    let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<&str> = stream.split('\n').collect();
    assert_eq!(lines.pop(), Some(""), "the last line has an end");
    for line in lines {
        if line.is_empty() {
            assert_eq!(sort, "", "of another sort");
            events.extend(data.take().map(|data| Event { id: id.clone(), data }));
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => match &mut data {
                Some(data) => data.extend(["\n", value]),
                None => data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => id = value.to_owned(),
            "event" => sort = value.to_owned(),
            other => panic!("no field of ours: {other:?}"),
        }
    }
    assert!(data.is_none(), "an event without an end");
    events
}
