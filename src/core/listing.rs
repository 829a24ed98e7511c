//! The session's entry in the public browser, as far as the agent looks after it by itself: it shows how many players there
//! are, and it goes when the instance is taken down. An operator must not find a closed server listed.
//!
//! What is listed is a durable fact ([`super::durable::Durable::listing`]): the last duty of the browser that was accepted. So both hold
//! after a restart too.

use std::time::{Duration, Instant};

use super::api::Feature;
use super::call::CallKind;
use super::common::Common;
use super::duty::{Duty, Listing};
use super::event::Denied;
use super::outbox::Outbox;
use super::phase::Phase;
use super::process::Players;

/// The number of players is told no more often than this.
const GAP: Duration = Duration::from_secs(10);

/// The machine of the listing.
#[derive(Debug, Clone, Default)]
pub(super) struct ListingKeeper {
    /// When it last told the number of players by itself.
    told: Option<Instant>,
}

impl ListingKeeper {
    /// The duty that is due, if one is.
    pub(super) fn advance(&mut self, common: &Common, outbox: &Outbox) -> Option<Duty> {
        let listing = common.durable.listing.as_ref()?;
        if outbox.is_storing_browser() || !outbox.has_room(common) {
            return None;
        }
        match common.phase {
            Phase::Draining | Phase::Closing => Some(Duty::UnlistBrowser),
            Phase::Loading | Phase::Serving => {
                let stale = stale(common, listing).filter(|_| self.due(common, outbox) == Some(common.now))?;
                self.told = Some(common.now);
                Some(Duty::UpdateBrowser(stale))
            }
            Phase::Resolving | Phase::Registering | Phase::Ended | Phase::Superseded => None,
        }
    }

    /// When a new number may be told; never while an older listing still waits, so that an outage does not fill the outbox.
    fn due(&self, common: &Common, outbox: &Outbox) -> Option<Instant> {
        let free = !outbox.is_storing_browser() && !Outbox::has_waiting_browser(common) && outbox.has_room(common);
        free.then(|| self.told.map_or(common.now, |told| common.now.max(told + GAP)))
    }

    pub(super) fn poll_timeout(&self, common: &Common, outbox: &Outbox) -> Option<Instant> {
        let listing = common.durable.listing.as_ref()?;
        let hosting = matches!(common.phase, Phase::Loading | Phase::Serving);
        (hosting && stale(common, listing).is_some()).then(|| self.due(common, outbox))?
    }
}

/// The listing as it should be, if it is not.
fn stale(common: &Common, listing: &Listing) -> Option<Listing> {
    let wanted = with_players(common, listing.clone());
    (wanted != *listing).then_some(wanted)
}

/// The listing with the number of players in it, where that is wanted and known. The agent's number stands over the game's.
fn with_players(common: &Common, mut listing: Listing) -> Listing {
    if let (Some(name), Some(players)) = (&common.params.publish_players, common.players) {
        listing.custom_data.insert(name.clone(), shown(players));
    }
    listing
}

/// "3/16", or "3" where nobody says how many may be.
fn shown(Players { count, capacity }: Players) -> String {
    if capacity == 0 { count.to_string() } else { format!("{count}/{capacity}") }
}

/// Why a duty of the match is not taken, or never delivered.
pub(super) fn no_match() -> String {
    "the environment has no call for a session's match any more (2026-08); name the match with match_id of PATCH /v1/instance".to_owned()
}

/// A duty as it is taken from a caller: a listing gets its players at once, and none is made once the instance is being taken
/// down.
pub(super) fn admit(common: &Common, duty: Duty) -> Result<Duty, Denied> {
    let ending = match common.phase {
        Phase::Draining | Phase::Closing => true,
        Phase::Resolving | Phase::Registering | Phase::Loading | Phase::Serving | Phase::Ended | Phase::Superseded => {
            false
        }
    };
    if duty.call_kind() == CallKind::Match && common.api.is_gone(Feature::Match, common.now) {
        return Err(Denied::Gone(no_match()));
    }
    match duty {
        Duty::ListBrowser(_) | Duty::UpdateBrowser(_) if ending => Err(Denied::Phase(format!(
            "the instance is {}: it is not to be found in the browser any more",
            common.phase.as_str()
        ))),
        Duty::ListBrowser(listing) => Ok(Duty::ListBrowser(with_players(common, listing))),
        Duty::UpdateBrowser(listing) => Ok(Duty::UpdateBrowser(with_players(common, listing))),
        Duty::BeginMatch(_)
        | Duty::UpdateMatch(_)
        | Duty::EndMatch
        | Duty::UnlistBrowser
        | Duty::UpdateSession { .. }
        | Duty::RemovePlayer { .. } => Ok(duty),
    }
}
