//! What the core is told: `[instance]` and the keys of its machines.

use std::time::Duration;

use super::{Checker, values};
use crate::config::error::dotted;
use crate::config::raw;
use crate::core::api::Choice;
use crate::core::ids::{AllocationId, IdError, InstanceId, InstanceName, SessionId};
use crate::core::instance::{CustomData, JoinParams, StartupParams};
use crate::core::params::{Deliver, Params, Target};
use crate::core::sdk;

/// Characters of a region and of a matchmaking profile (2023-11 contract, InstanceFubar); ours for the name of a listing's entry.
const NAME_LIMIT: usize = 128;

/// Characters of a text for which the contract gives no limit. Ours.
const LINE_LIMIT: usize = 4096;

const SECONDS: fn(u64) -> Duration = Duration::from_secs;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

impl Checker<'_> {
    /// An identifier, or nothing where nothing was said.
    #[expect(clippy::option_option, reason = "outside: whether it is good; inside: whether it is there")]
    fn id<T>(&mut self, key: &str, text: &str, parse: fn(&str) -> Result<T, IdError>) -> Option<Option<T>> {
        self.check(key, values::given(text).map(|text| parse(text).map_err(|error| error.to_string())).transpose())
    }

    /// `fixed`: the session or the allocation is in the configuration.
    fn target(&mut self, fixed: bool) -> Option<Target> {
        let raw = &self.raw.instance;
        let session = self.id("instance.session_id", &raw.session_id, SessionId::parse);
        let allocation = self.id("instance.allocation_id", &raw.allocation_id, AllocationId::parse);
        if !fixed {
            // Of a word that is none, nobody knows what it was meant to need.
            return self.not_fixed().then_some(Target::Awaited);
        }
        match (session?, allocation?) {
            (Some(session), allocation) => Some(Target::Session { session, allocation }),
            (None, Some(allocation)) => Some(Target::Allocation(allocation)),
            (None, None) => {
                self.missing(
                    "instance.session_id",
                    &["instance.allocation_id"],
                    "is required, or instance.allocation_id: one of them says which session this server is for; or let \
                     instance.source say where that comes from",
                );
                None
            }
        }
    }

    /// `instance.recycle`
    pub(super) fn recycle(&mut self) -> Option<bool> {
        let raw = &self.raw.instance;
        if raw.recycle && !(raw.session_id.is_empty() && raw.allocation_id.is_empty()) {
            self.refuse(
                "instance.recycle",
                "needs allocations that come anew, but session or allocation are fixed: an ended session does not come again"
                    .to_owned(),
            );
            return None;
        }
        Some(raw.recycle)
    }

    fn custom_data(&mut self, key: &str, data: &CustomData) -> Option<CustomData> {
        let wrong: Vec<(&str, String)> = values::custom_data(data).collect();
        for (name, reason) in &wrong {
            self.refuse(&format!("{key}.{}", dotted(&[name])), reason.clone());
        }
        wrong.is_empty().then(|| data.clone())
    }

    fn publish_labels(&mut self) -> Option<Vec<String>> {
        let keys = &self.raw.instance.publish_labels;
        let wrong: Vec<&String> = keys.iter().filter(|key| !sdk::is_key(key)).collect();
        for key in &wrong {
            self.refuse(
                "instance.publish_labels",
                format!(
                    "{key:?} is no key that a game can set: 1 to 59 letters, digits, '-', '_' and '.', and no prefix"
                ),
            );
        }
        wrong.is_empty().then(|| keys.clone())
    }

    #[expect(clippy::option_option, reason = "outside: whether it is good; inside: whether it is there")]
    fn startup_params(&mut self) -> Option<Option<StartupParams>> {
        let raw = &self.raw.instance.startup_params;
        let map = self.check("instance.startup_params.map", values::line(&raw.map, LINE_LIMIT));
        let mode = self.check("instance.startup_params.mode", values::line(&raw.mode, LINE_LIMIT));
        let misc_params = self.check("instance.startup_params.misc_params", values::line(&raw.misc_params, LINE_LIMIT));
        let custom_data = self.custom_data("instance.startup_params.custom_data", &raw.custom_data);
        if *raw == raw::StartupParams::default() {
            return Some(None);
        }
        if raw.map.is_empty() {
            self.missing(
                "instance.startup_params.map",
                &[],
                "is required as soon as another startup parameter is given",
            );
            return None;
        }
        if !self.raw.instance.allocation_id.is_empty() {
            self.warn(
                "instance.startup_params",
                "has no effect: an allocated instance is told its parameters, not asked for them",
            );
        }
        Some(Some(StartupParams {
            map: map?,
            mode: mode.map(|mode| values::given(&mode).map(str::to_owned))?,
            misc_params: misc_params?,
            custom_data: custom_data?,
        }))
    }

    /// `instance.*`, `game.*`, `health.*`, `notifications.*`, `fubar.*`, `shutdown.*`
    pub(super) fn params(&mut self, name: &InstanceName) -> Option<Params> {
        let raw = self.raw;
        let instance = &raw.instance;
        let allocation = self.allocation();
        let target = self.target(raw.instance.source == "fixed");
        let instance_id = self.id("instance.instance_id", &instance.instance_id, InstanceId::parse);
        let host_type = if instance.host_type == "player" {
            Err("must be \"dedicated\", \"standalone\" or \"preallocated\": the agent does not stand beside the game of a player who hosts".to_owned())
        } else {
            values::word(&instance.host_type, &[("dedicated", ()), ("standalone", ()), ("preallocated", ())])
        };
        let host_type = self.check("instance.host_type", host_type);
        let choices = [Choice::Auto, Choice::V2023_11, Choice::V2026_08].map(|choice| (choice.as_str(), choice));
        let api = self.check("environment.api", values::word(&raw.environment.api, &choices));
        if api == Some(Choice::V2023_11) && host_type.is_some() && instance.host_type != "dedicated" {
            self.refuse(
                "instance.host_type",
                format!(
                    "must be \"dedicated\" where environment.api is \"2023-11\": {:?} came later",
                    instance.host_type
                ),
            );
        }
        let region = self.check("instance.region", values::line(&instance.region, NAME_LIMIT));
        let version = self.check("instance.version", values::given(&instance.version).map(values::version).transpose());
        let public = self.check("instance.public_conn_str", values::line(&instance.public_conn_str, LINE_LIMIT));
        let private = self.check("instance.private_conn_str", values::line(&instance.private_conn_str, LINE_LIMIT));
        let profile = self.check(
            "instance.matchmaking_profile_id",
            values::given(&instance.matchmaking_profile_id).map(|id| values::line(id, NAME_LIMIT)).transpose(),
        );
        let providers = [("player", "player"), ("sic", "sic"), ("multiplay", "multiplay")];
        let provider = self.check(
            "instance.source_provider",
            values::given(&instance.source_provider).map(|word| values::word(word, &providers)).transpose(),
        );
        let publish_players = self.check(
            "instance.publish_players",
            values::given(&instance.publish_players).map(|name| values::line(name, NAME_LIMIT)).transpose(),
        );
        let custom_data = self.custom_data("instance.custom_data", &instance.custom_data);
        let publish_labels = self.publish_labels();
        let startup_params = self.startup_params();
        let readiness = self.readiness();
        let health = &raw.health;
        let notifications = &raw.notifications;
        let ready_timeout = self.duration("game.ready_timeout", &raw.game.ready_timeout, &(SECONDS(1)..=SECONDS(DAY)));
        let stop_timeout = self.stop_timeout();
        let cadence = self.duration("health.default_cadence", &health.default_cadence, &(SECONDS(1)..=SECONDS(HOUR)));
        let grace = self.duration("health.startup_grace", &health.startup_grace, &(SECONDS(0)..=SECONDS(DAY)));
        let heartbeat =
            self.duration("health.heartbeat_timeout", &health.heartbeat_timeout, &(SECONDS(1)..=SECONDS(HOUR)));
        let unhealthy_after = self.number("health.unhealthy_after", health.unhealthy_after, &(1..=1000));
        let healthy_after = self.number("health.healthy_after", health.healthy_after, &(1..=1000));
        let page_size = self.number("notifications.page_size", notifications.page_size, &(1..=100));
        let deadline = self.check(
            "notifications.deadline",
            values::whole_seconds(&notifications.deadline, &(SECONDS(1)..=SECONDS(900))),
        );
        let inbox_limit = self.number("notifications.inbox_limit", notifications.inbox_limit, &(1..=100_000));
        let session_interval = self.duration(
            "notifications.session_interval",
            &notifications.session_interval,
            &(SECONDS(1)..=SECONDS(60)),
        );
        let drain = self.duration("shutdown.drain_timeout", &raw.shutdown.drain_timeout, &(SECONDS(0)..=SECONDS(DAY)));
        host_type?;
        Some(Params {
            name: name.clone(),
            api: api?,
            target: target?,
            allocation: allocation?,
            instance_id: instance_id?,
            host_type: instance.host_type.clone(),
            region: region?,
            version: version?,
            join_params: JoinParams {
                public_conn_str: public?,
                private_conn_str: private?,
                custom_data: CustomData::new(),
            },
            custom_data: custom_data?,
            publish_players: publish_players?,
            publish_labels: publish_labels?,
            startup_params: startup_params?,
            matchmaking_profile_id: profile?,
            source_provider: provider?.map(str::to_owned),
            readiness: readiness?,
            process: self.process(),
            stop_timeout: stop_timeout?,
            ready_timeout: ready_timeout?,
            default_cadence: cadence?,
            startup_grace: grace?,
            heartbeat_timeout: heartbeat?,
            unhealthy_after: unhealthy_after?,
            healthy_after: healthy_after?,
            probes: Vec::new(),
            deliver: if notifications.deliver == "api" { Deliver::Api } else { Deliver::Push },
            notifications: notifications.enabled,
            page_size: page_size?,
            poll_deadline: deadline?,
            session_interval: session_interval?,
            inbox_limit: inbox_limit?,
            automatic_fubar: raw.fubar.automatic,
            drain_timeout: drain?,
        })
    }
}
