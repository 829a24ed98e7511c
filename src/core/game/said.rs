//! What the game has said about itself, and whether it is ready.

use super::Game;
use crate::core::api::Feature;
use crate::core::common::Common;
use crate::core::durable::{Record, SaidState};
use crate::core::event::{Denied, Said};
use crate::core::ids::{MatchId, Ticket};
use crate::core::instance::{CustomData, JoinParams};
use crate::core::params::{Readiness, Target};
use crate::core::phase::Phase;
use crate::core::sdk;

impl Game {
    /// How players reach the game: what it said, else what is configured.
    pub(in crate::core) fn join_params(common: &Common, said: &SaidState) -> JoinParams {
        let configured = &common.params.join_params;
        JoinParams {
            public_conn_str: said.public_conn_str.clone().unwrap_or_else(|| configured.public_conn_str.clone()),
            private_conn_str: said.private_conn_str.clone().unwrap_or_else(|| configured.private_conn_str.clone()),
            custom_data: configured.custom_data.clone(),
        }
    }

    /// The instance's custom_data: what is configured, over it the labels that are published, and over these what the game said.
    pub(in crate::core) fn custom_data(common: &Common) -> CustomData {
        let mut data = common.params.custom_data.clone();
        data.extend(sdk::published(common));
        data.extend(common.durable.said.custom_data.clone().unwrap_or_default());
        data
    }

    /// The match that the game plays, where the environment knows the field.
    pub(in crate::core) fn match_id(common: &Common) -> Option<MatchId> {
        let understood = common.api.understands(Feature::MatchId, common.now);
        common.durable.said.match_id.clone().filter(|_| understood)
    }

    /// Whether the game is ready, and players could reach it.
    pub(in crate::core) fn is_ready(&self, common: &Common) -> bool {
        self.is_ready_inside(common) && Self::join_params(common, &common.durable.said).is_reachable()
    }

    /// Whether the game is ready, whoever could reach it. Its own word counts also where a probe or its log is to tell.
    pub(super) fn is_ready_inside(&self, common: &Common) -> bool {
        let ready = match common.params.readiness {
            Readiness::Sdk | Readiness::Probe | Readiness::Log => common.durable.said.ready,
            Readiness::Immediate => !self.life.is_known() || self.life.is_running(),
        };
        ready && self.life.over().is_none()
    }

    /// POST /v1/ready and PATCH /v1/instance. The ticket is that of the record; `None` if nothing changed.
    pub(in crate::core) fn says(common: &mut Common, said: Said, ready: bool) -> Result<Option<Ticket>, Denied> {
        if !takes_players(common.phase) {
            return Err(Denied::Phase(format!(
                "the instance is {}: it takes no players any more",
                common.phase.as_str()
            )));
        }
        let mut next = common.durable.said.clone();
        next.ready |= ready;
        next.joinable = said.joinable.or(next.joinable);
        next.public_conn_str = said.public_conn_str.or(next.public_conn_str);
        next.private_conn_str = said.private_conn_str.or(next.private_conn_str);
        next.version = said.version.or(next.version);
        next.custom_data = said.custom_data.or(next.custom_data);
        if let Some(match_id) = said.match_id {
            next.match_id = match_id;
        }
        if next.ready {
            Self::check_reachable(common, &next)?;
        }
        if next == common.durable.said {
            return Ok(None);
        }
        Ok(Some(common.remember(vec![Record::Said(next)])))
    }

    /// Nobody becomes ready whom no player could reach.
    pub(in crate::core) fn check_reachable(common: &Common, said: &SaidState) -> Result<(), Denied> {
        // The allocation that is waited for may bring the address.
        if Self::join_params(common, said).is_reachable() || common.params.target == Target::Awaited {
            return Ok(());
        }
        Err(Denied::Field {
            field: "public_conn_str",
            reason: "no player could connect: give public_conn_str or private_conn_str here, or set \
                     instance.public_conn_str in the configuration"
                .to_owned(),
        })
    }

    /// A probe or its log tells that it is ready. Remembered as if it had said so: a restarted agent asks nobody again.
    pub(super) fn becomes_ready(common: &mut Common) {
        if takes_players(common.phase) && !common.durable.said.ready {
            let said = SaidState { ready: true, ..common.durable.said.clone() };
            common.remember(vec![Record::Said(said)]);
        }
    }

    /// A process of ours begins: what another one said of its readiness was about that one. What it said of how to reach it
    /// stays until it says otherwise. (An instance that the backend shows as joinable is not taken back to pending by this.)
    pub(super) fn begins_anew(common: &mut Common) {
        let said = &common.durable.said;
        if said.ready || said.joinable.is_some() || said.match_id.is_some() {
            let said = SaidState { ready: false, joinable: None, match_id: None, ..said.clone() };
            common.remember(vec![Record::Said(said)]);
        }
    }
}

fn takes_players(phase: Phase) -> bool {
    match phase {
        Phase::Draining | Phase::Closing | Phase::Ended | Phase::Superseded => false,
        Phase::Resolving | Phase::Registering | Phase::Loading | Phase::Serving => true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::durable::Durable;
    use crate::core::tests::rig::params;

    #[test]
    fn another_process_takes_back_what_was_said_of_readiness_and_leaves_how_to_reach_it() {
        let now = crate::clock::now();
        let begun = |said: SaidState| {
            let durable = Durable { said, ..Durable::default() };
            let mut common = Common::new(params().into(), durable, 7, "2026-11-22T10:00:00Z".parse().unwrap(), now);
            Game::begins_anew(&mut common);
            (common.durable.said.clone(), common.poll_action().is_some())
        };
        let reached = SaidState { public_conn_str: Some("1.2.3.4:1".to_owned()), ..SaidState::default() };
        let ready = SaidState { ready: true, ..reached.clone() };
        let closed = SaidState { joinable: Some(false), ..reached.clone() };
        let playing = SaidState { match_id: MatchId::parse("m-1").ok(), ..reached.clone() };
        for said in [ready, closed, playing] {
            assert_eq!(begun(said.clone()), (reached.clone(), true), "{said:?}");
        }
        assert_eq!(begun(reached.clone()), (reached, false), "there is nothing to write");
    }

    #[test]
    fn readiness_is_written_once_and_never_at_the_end() {
        let now = crate::clock::now();
        let mut common = Common::new(
            params().into(),
            Durable::default(),
            7,
            "2026-11-22T10:00:00Z".parse().unwrap(),
            now + Duration::ZERO,
        );
        common.phase = Phase::Closing;
        Game::becomes_ready(&mut common);
        assert!(!common.durable.said.ready && common.poll_action().is_none());
        common.phase = Phase::Loading;
        Game::becomes_ready(&mut common);
        assert!(common.durable.said.ready && common.poll_action().is_some());
        Game::becomes_ready(&mut common);
        assert!(common.poll_action().is_none(), "it is so already");
    }
}
