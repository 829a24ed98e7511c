//! What happened, for whoever tells the story: the demo's timeline, and tests that wait for something.

use std::time::Duration;

use serde::Serialize;

/// How many happenings wait for a slow listener before it misses some.
pub(super) const LISTENER_QUEUE: usize = 1024;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// Since the simulator began.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happened, in the order of the backend's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Somebody logged in, or was refused.
    Login {
        /// The client of HTTP Basic.
        client: String,
        /// Whether it got a token.
        accepted: bool,
    },
    /// A session was read through its allocation.
    Resolved {
        /// The allocation.
        allocation_id: String,
        /// Its session.
        session_id: String,
    },
    /// POST of an instance.
    Registered {
        /// The session.
        session_id: String,
        /// Its new instance.
        instance_id: String,
    },
    /// PATCH of an instance.
    Updated {
        /// The session.
        session_id: String,
        /// Its instance.
        instance_id: String,
        /// The join status after it.
        join_status: String,
    },
    /// DELETE of an instance.
    Unregistered {
        /// The session.
        session_id: String,
        /// The instance that is gone.
        instance_id: String,
    },
    /// The control put another instance in place, or took it away.
    Replaced {
        /// The session.
        session_id: String,
        /// The instance that it has now.
        instance_id: Option<String>,
    },
    /// The control changed a session.
    Changed {
        /// The session.
        session_id: String,
    },
    /// A health post.
    Health {
        /// The session.
        session_id: String,
        /// Its instance.
        instance_id: String,
        /// What was posted.
        sent: String,
        /// What was answered.
        answered: String,
    },
    /// A fubar report.
    Fubar {
        /// The session.
        session_id: String,
        /// The instance it is about.
        instance_id: String,
        /// The error.
        error: String,
    },
    /// A session event.
    Event {
        /// The session.
        session_id: String,
        /// Its code.
        event_code: String,
    },
    /// An audit event.
    Audit {
        /// The session.
        session_id: String,
        /// Its name, as it was given.
        event_name: String,
    },
    /// A notification was written to an instance's stream.
    Published {
        /// The instance.
        instance_id: String,
        /// The new notification.
        notification_id: String,
        /// Its message.
        message: String,
    },
    /// A long poll was answered with notifications, or ran out (none).
    Polled {
        /// The instance.
        instance_id: String,
        /// How many notifications it got.
        notifications: usize,
    },
    /// All tokens were made to expire.
    TokensExpired,
    /// A fault was injected into a call.
    Fault {
        /// The call.
        call: String,
        /// The kind of fault.
        fault: String,
    },
}
