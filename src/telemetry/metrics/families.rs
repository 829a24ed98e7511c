//! The list of all metrics: one entry for each, from which the answer, the table in the documentation and the tests are made.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// One series per state, 1 for the one that is, 0 for the others.
    States,
    /// Only goes up, from 0 at the start of the process.
    Counter,
    /// Observations in buckets, with their sum and number.
    Histogram,
}

impl Kind {
    pub(super) fn metric_type(self) -> MetricType {
        match self {
            Self::Gauge | Self::States => MetricType::Gauge,
            Self::Counter => MetricType::Counter,
            Self::Histogram => MetricType::Histogram,
        }
    }

    /// The word in the table of the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::States => "states",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug)]
pub struct Family {
    /// As Prometheus shows it; of a histogram, without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels. Their values come from a closed list or from the configuration.
    pub labels: &'static [&'static str],
    /// What it tells, in one line without quotes or backslashes, which the two formats escape differently.
    pub help: &'static str,
}

impl Family {
    /// The name without what the encoder appends by itself, and the unit.
    pub(super) fn stem_and_unit(&self) -> (&'static str, Option<&'static Unit>) {
        let stem = self.name.strip_suffix("_total").unwrap_or(self.name);
        let units = [("_seconds", &SECONDS), ("_bytes", &BYTES)];
        let with_unit = units.into_iter().find_map(|(suffix, unit)| Some((stem.strip_suffix(suffix)?, Some(unit))));
        with_unit.unwrap_or((stem, None))
    }
}

static SECONDS: Unit = Unit::Seconds;
static BYTES: Unit = Unit::Bytes;

macro_rules! families {
    ($($id:ident: $name:literal $kind:ident [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) static $id: Family =
            Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*
        /// Every metric, in the order of the answer.
        pub static ALL: &[&Family] = &[$(&$id),*];
    };
}

families! {
    INSTANCES: "rallyhere_agent_instances" Gauge ["state"]
        "Instances that wait for an allocation, and the others by their phase";
    PHASE: "rallyhere_agent_phase" States ["instance", "phase"] "The phase of the instance";
    ALLOCATION: "rallyhere_agent_allocation_state" States ["instance", "source", "state"]
        "Whether the instance waits for its allocation, and where that comes from; always allocated where the configuration names the session";
    READY: "rallyhere_agent_ready" Gauge ["instance"] "Whether the game has said that it is ready";
    PERMISSION_MISSING: "rallyhere_agent_permission_missing" Gauge ["instance", "call"]
        "Whether the backend refuses this call to us for want of a permission";
    API_GONE: "rallyhere_agent_api_gone" Gauge ["instance", "call"]
        "Whether the environment's API does not have this (any more), by what the agent has learnt or was told";
    CALLS_FAILED: "rallyhere_agent_calls_failed_total" Counter ["instance"]
        "Calls to the backend that failed, as the instance counts them: what is no failure, such as a long poll cut by a proxy, is left out";

    HEALTH_VERDICT: "rallyhere_agent_health_verdict" States ["instance", "verdict"] "What would be posted now";
    HEALTH_ANSWER: "rallyhere_agent_health_answer" States ["instance", "answer"]
        "What the backend last answered to a post; all 0 before the first answer";
    HEALTH_SENT: "rallyhere_agent_health_posts_sent_total" Counter ["instance"] "Health posts that left";
    HEALTH_ANSWERED: "rallyhere_agent_health_posts_answered_total" Counter ["instance"] "Health posts that the backend accepted";
    HEALTH_DISPUTED: "rallyhere_agent_health_posts_disputed_total" Counter ["instance"]
        "Accepted health posts whose answer named another health than was posted";
    HEALTH_FAILED: "rallyhere_agent_health_posts_failed_total" Counter ["instance"] "Health posts that failed";
    HEALTH_CADENCE: "rallyhere_agent_health_cadence_seconds" Gauge ["instance"] "How often health is posted";
    HEALTH_SILENCE: "rallyhere_agent_health_silence_seconds" Gauge ["instance"]
        "How long the backend has accepted no health post: since the last accepted one, or since the phase began if that is later; 0 while no health is owed";
    HEALTH_GAP: "rallyhere_agent_health_gap_seconds" Histogram ["instance"]
        "Time between one health post and the next, as they left; the bounds are 1.05 and 1.25 times the usual cadences";

    POLL_STATE: "rallyhere_agent_notifications_poll_state" States ["instance", "state"] "What the long poll for notifications is doing";
    RECEIVED: "rallyhere_agent_notifications_received_total" Counter ["instance"] "Notifications taken from the backend";
    REPEATED: "rallyhere_agent_notifications_repeated_total" Counter ["instance"] "Notifications that came again and were dropped";
    UNUSABLE: "rallyhere_agent_notifications_unusable_total" Counter ["instance"] "Entries of a page that could not be read";
    ACKNOWLEDGED: "rallyhere_agent_notifications_acknowledged_total" Counter ["instance"] "Notifications that the game acknowledged";
    INBOX: "rallyhere_agent_inbox_depth" Gauge ["instance"] "Notifications that wait for the game";
    HANDOFF: "rallyhere_agent_notification_handoff_seconds" Histogram ["instance"]
        "From the end of the poll that brought a notification to its first answer of the local API: the sync to disk, and the wait for a game that does not ask. Neither the way to the agent nor what the game does with it is in here";

    OUTBOX: "rallyhere_agent_outbox_depth" Gauge ["instance"] "Reports and events that wait for the backend";
    DEAD_LETTERS: "rallyhere_agent_outbox_dead_letters" Gauge ["instance"] "Reports and events that the backend will never take; they are kept";
    REPORTS_ACCEPTED: "rallyhere_agent_reports_accepted_total" Counter ["instance"] "Reports and events accepted; what a caller reported is on disk by then";
    REPORTS_SENT: "rallyhere_agent_reports_sent_total" Counter ["instance"] "Reports and events that the backend has taken";
    REPORTS_DEAD: "rallyhere_agent_reports_dead_total" Counter ["instance"] "Reports and events set aside for ever";
    REPORTS_REFUSED: "rallyhere_agent_reports_refused_total" Counter ["instance"] "Reports and events refused at the door: the caller knows";

    GAME_UP: "rallyhere_agent_game_up" Gauge ["instance"] "Whether the process of the game runs; 0 also where the agent was not told where it is";
    GAME_PLAYERS: "rallyhere_agent_game_players" Gauge ["instance"] "Players connected; 0 where nobody says";
    GAME_SLOTS: "rallyhere_agent_game_player_slots" Gauge ["instance"] "Players that the game takes at most; 0 where nobody says";
    GAME_CPU: "rallyhere_agent_game_cpu_seconds_total" Counter ["instance"]
        "Processor time of the game since its start; 0 where it cannot be measured, and from 0 again when the game is started anew";
    GAME_MEMORY: "rallyhere_agent_game_memory_bytes" Gauge ["instance"] "Resident memory of the game; 0 where it cannot be measured";
    GAME_MEMORY_LIMIT: "rallyhere_agent_game_memory_limit_bytes" Gauge ["instance"] "What the cgroup of the game may use; 0 where there is no bound";
    PROBE_HEALTH: "rallyhere_agent_probe_health" States ["instance", "probe", "verdict"]
        "What a probe of the configuration last found; all 0 before its first run; no series without probes";

    LOCAL_REQUESTS: "rallyhere_agent_local_requests_total" Counter ["instance", "route", "class"]
        "Requests on the local API by call and class of the answer; other is a path that is no call";
    PROXY_REQUESTS: "rallyhere_agent_proxy_requests_total" Counter ["instance", "class"]
        "Calls of the game to the environment that came to an end: class is that of the backend's status; failed is no usable answer, and the rest was not passed on";
    PROXY_DURATION: "rallyhere_agent_proxy_duration_seconds" Histogram ["instance"]
        "How long calls of the game took that were passed on, the game's own body included";

    AUTH_STATE: "rallyhere_agent_auth_state" States ["state"] "Where the login stands, which all instances share";
    LOGINS: "rallyhere_agent_logins_total" Counter ["result"]
        "Logins and refreshes that came to an end; denied is a refusal that trying again does not help";
    REQUESTS: "rallyhere_agent_requests_total" Counter ["call", "class"]
        "Requests to the backend that came to an end: class is that of the status, or why there was no usable answer; one that was taken back is not counted";
    REQUEST_DURATION: "rallyhere_agent_request_duration_seconds" Histogram ["call"]
        "How long requests to the backend took, from asking to the whole answer, connecting included; a poll waits for news by design";
    POLLS: "rallyhere_agent_polls_total" Counter ["outcome"]
        "Long polls that came to an end: with news, empty, cut by somebody on the way, or failed";

    STORE_STATE: "rallyhere_agent_store_state" States ["state"] "How the state directory is";
    STORE_FAULTS: "rallyhere_agent_store_faults_total" Counter [] "Batches of records that the disk did not take";
    STORE_FINDINGS: "rallyhere_agent_store_findings_total" Counter ["kind"]
        "What was found wrong in the state directory since the start; damaged files are kept aside";
    STORE_SIZE: "rallyhere_agent_store_size_bytes" Gauge [] "Snapshot and log together";
    STORE_WRITE: "rallyhere_agent_store_write_duration_seconds" Histogram []
        "From handing records to the store until they were synced to disk";

    LOG_DROPPED: "rallyhere_agent_log_dropped_lines_total" Counter [] "Log lines lost because nobody read standard error";
    PULSE_AGE: "rallyhere_agent_loop_pulse_age_seconds" Gauge []
        "How long ago the slowest of the loops turned; each turns every 5 s at least, and at 15 s the watchdog is not fed any more";
    BUILD_INFO: "rallyhere_agent_build_info" Gauge ["version", "target"] "Always 1: the version of the agent, and what it was built for";

    PROCESS_START: "process_start_time_seconds" Gauge [] "When the agent started, in seconds since 1970";
    PROCESS_CPU: "process_cpu_seconds_total" Counter [] "Processor time of the agent";
    PROCESS_MEMORY: "process_resident_memory_bytes" Gauge [] "Resident memory of the agent";
    PROCESS_FDS: "process_open_fds" Gauge [] "File descriptors that the agent has open";
}
