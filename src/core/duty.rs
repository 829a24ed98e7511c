//! A host's other duties: the match, the public browser, the session itself, its players (2023-11 contract, the calls below
//! `/session/v1/session/{session_id}`). They are accepted, kept and sent like events, in one order with them.
//!
//! | duty | call | body | answer | permission |
//! |---|---|---|---|---|
//! | begin a match | POST …/match | MatchCreateRequest `{match_id*, custom_data?}` | 200 `{match_id}` | session:update:any or self |
//! | update it | PATCH …/match | the same | 200, anything | the same |
//! | end it | DELETE …/match | – | 200, anything | the same |
//! | list the session | POST …/browser | BrowserInfo `{custom_data?}` | 200 BrowserInfo | session:update:browser |
//! | update the listing | PATCH …/browser | the same | the same | the same |
//! | unlist it | DELETE …/browser | – | 204 | the same |
//! | update the session | PATCH … | SessionUpdate `{custom_data?, joinable?, region_id?}` | 200 Session | session:update:any or self |
//! | remove a player | DELETE …/player/{uuid} | – | 204; 404 if it is no member | session:update-player:any or self |
//!
//! `session:*` stands for each of these permissions. Every call may also answer 403 (HzApiErrorModel) and 422. The contract
//! documents no 404 and no 409 for the match and the browser; what those mean is [`Duty::ruling`]'s to say.
//!
//! None of these calls carries a fence (backend.md, trap 7): they are sent only after a look that showed nobody else.

use serde::{Deserialize, Serialize};

use super::call::{CallKind, Failure, FailureKind};
use super::ids::{MatchId, PlayerId};
use super::instance::CustomData;

/// One thing that a host tells the backend about its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "duty", rename_all = "snake_case")]
pub enum Duty {
    /// A match begins, on the current instance.
    BeginMatch(Match),
    /// What is known of the match changed.
    UpdateMatch(Match),
    /// The match is over.
    EndMatch,
    /// The session is to be found in the public browser.
    ListBrowser(Listing),
    /// What the browser shows of it changed.
    UpdateBrowser(Listing),
    /// It is to be found there no more.
    UnlistBrowser,
    /// The session itself changes. What is absent stays as it is.
    UpdateSession {
        /// Replaces the session's custom_data.
        #[serde(default)]
        custom_data: Option<CustomData>,
        /// Whether players may join the session without an invitation.
        #[serde(default)]
        joinable: Option<bool>,
    },
    /// A player has to leave the session, or is not invited any more.
    RemovePlayer {
        /// Who.
        player: PlayerId,
    },
}

/// A match (2023-11 contract, MatchCreateRequest).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// Unique; made by the game.
    pub match_id: MatchId,
    /// Whatever the game says of it. `None`: nothing is said.
    #[serde(default)]
    pub custom_data: Option<CustomData>,
}

/// A listing in the public browser (2023-11 contract, BrowserInfo).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// What the browser shows beside the session.
    #[serde(default)]
    pub custom_data: CustomData,
}

/// What becomes of a report, an event or a duty that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It is as it should be all the same.
    Done,
    /// It can never succeed, or not before something that waits behind it.
    Dead,
    /// The backend means no, but somebody may mend that: again after minutes.
    Slow,
    /// Again soon.
    Soon,
}

impl Ruling {
    /// What a failure means for whatever was to be delivered.
    pub fn of(failure: &Failure) -> Self {
        match failure.kind {
            FailureKind::Rejected => Self::Dead,
            FailureKind::NotFound if failure.is_session_gone() => Self::Dead,
            FailureKind::Forbidden | FailureKind::NotFound | FailureKind::Unsupported | FailureKind::Conflict => {
                Self::Slow
            }
            FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::TimedOut
            | FailureKind::NoToken
            | FailureKind::Unauthorised
            | FailureKind::Throttled
            | FailureKind::Server
            | FailureKind::Redirected
            | FailureKind::Malformed => Self::Soon,
        }
    }
}

impl Duty {
    /// The word in logs, metrics and status.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::BeginMatch(_) => "begin_match",
            Self::UpdateMatch(_) => "update_match",
            Self::EndMatch => "end_match",
            Self::ListBrowser(_) => "list_browser",
            Self::UpdateBrowser(_) => "update_browser",
            Self::UnlistBrowser => "unlist_browser",
            Self::UpdateSession { .. } => "update_session",
            Self::RemovePlayer { .. } => "remove_player",
        }
    }

    /// The kind of its call.
    pub fn call_kind(&self) -> CallKind {
        match self {
            Self::BeginMatch(_) | Self::UpdateMatch(_) | Self::EndMatch => CallKind::Match,
            Self::ListBrowser(_) | Self::UpdateBrowser(_) | Self::UnlistBrowser => CallKind::Browser,
            Self::UpdateSession { .. } => CallKind::UpdateSession,
            Self::RemovePlayer { .. } => CallKind::RemovePlayer,
        }
    }

    /// What the browser is to show after it: the listing, or nothing. The outer `None`: it is no matter of the browser.
    pub fn listed(&self) -> Option<Option<&Listing>> {
        match self {
            Self::ListBrowser(listing) | Self::UpdateBrowser(listing) => Some(Some(listing)),
            Self::UnlistBrowser => Some(None),
            Self::BeginMatch(_)
            | Self::UpdateMatch(_)
            | Self::EndMatch
            | Self::UpdateSession { .. }
            | Self::RemovePlayer { .. } => None,
        }
    }

    /// What a failure means for it. `doubtful`: an earlier try may have been carried out although we have no answer.
    ///
    /// * 404 on a DELETE: what was to go is gone. The backend has shown the session just before, so it is no proxy's 404.
    /// * 404 in the backend's own words (with an error code) on the others: there is nothing to update, and waiting brings none.
    /// * 409 on a POST: it was our own earlier try, if there may have been one. If not, something else is in the way, and what
    ///   would take it away (the end of the match, say) may wait behind this very duty: it is set aside.
    pub fn ruling(&self, failure: &Failure, doubtful: bool) -> Ruling {
        let (begins, ends) = match self {
            Self::BeginMatch(_) | Self::ListBrowser(_) => (true, false),
            Self::EndMatch | Self::UnlistBrowser | Self::RemovePlayer { .. } => (false, true),
            Self::UpdateMatch(_) | Self::UpdateBrowser(_) | Self::UpdateSession { .. } => (false, false),
        };
        let (gone, taken) = (failure.kind == FailureKind::NotFound, failure.kind == FailureKind::Conflict);
        if (gone && ends) || (taken && begins && doubtful) {
            Ruling::Done
        } else if (gone && failure.code.is_some()) || (taken && begins) {
            Ruling::Dead
        } else {
            Ruling::of(failure)
        }
    }
}

#[cfg(test)]
mod tests;
