//! Whose instance is it that the session shows?

use super::{Common, InstanceId, InstanceInfo, JoinStatus, Target};
use crate::core::action::Note;
use crate::core::allocation::Source;
use crate::core::instance::Session;

/// What a sighting of the session means for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// No instance.
    Free,
    /// Ours.
    Ours {
        /// As the backend shows it.
        status: JoinStatus,
    },
    /// The allocation is not bound to it yet.
    NotBound,
    /// Somebody else's; why we think so.
    Foreign(String),
    /// There is no such session any more: the backend said so itself.
    SessionGone,
}

/// Says that a start has nothing to serve, and what would give it something: only where the configuration names the session does
/// that come as a surprise.
pub(super) fn closed_before(common: &mut Common) {
    if common.params.allocation.source != Source::Fixed {
        return;
    }
    let whom = match (common.session_id(), &common.params.target) {
        (Some(session), _) => format!("session {session}"),
        (None, Target::Session { session, .. }) => format!("session {session}"),
        (None, Target::Allocation(allocation)) => format!("allocation {allocation}"),
        (None, Target::Awaited) => "its session".to_owned(),
    };
    common.note(Note::Warning {
        cause: "closed_before",
        words: format!(
            "the instance of {whom} was closed before this start, and what is closed does not come back: what still waits is sent, then \
             the instance ends. To serve again, set another instance.session_id or instance.allocation_id, let an instance.source give \
             one after the other (instance.recycle), or remove the state directory to take the same session anew"
        ),
    });
}

/// Our id, if we have one: remembered, or configured.
pub(super) fn own_id(common: &Common) -> Option<&InstanceId> {
    common.instance_id().or(common.params.instance_id.as_ref())
}

/// Whether an instance is somebody else's, and why.
pub(super) fn foreign(common: &Common, shown: &InstanceInfo) -> Option<String> {
    let fence = common.allocation_id().or_else(|| common.params.target.allocation());
    if let (Some(ours), Some(theirs)) = (fence, &shown.allocation_id)
        && ours != theirs
    {
        return Some(format!("the session's instance has allocation {theirs}, ours is {ours}"));
    }
    match (own_id(common), &shown.instance_id) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            Some(format!("the session's instance is {theirs}, ours is {ours}"))
        }
        // We have no id yet and no fence: whoever is there, it is not us.
        (None, Some(theirs)) if fence.is_none() => Some(format!("the session's instance is {theirs}, not ours")),
        (None, None) if fence.is_none() => Some("the session has an instance already, not ours".to_owned()),
        (Some(_) | None, Some(_) | None) => None,
    }
}

/// Judges a session.
pub(super) fn judge(common: &Common, session: &Session) -> Standing {
    let Some(shown) = &session.instance else {
        let waits = common.params.target.allocation().is_some() && !common.durable.attached;
        return if waits { Standing::NotBound } else { Standing::Free };
    };
    if let Some(why) = foreign(common, shown) {
        return Standing::Foreign(why);
    }
    if common.params.target.allocation().is_some() && (shown.allocation_id.is_none() || shown.instance_id.is_none()) {
        // Half-made: the provider is still at work, or the backend shows us less than it knows.
        return if own_id(common).is_some() && shown.instance_id.is_some() {
            Standing::Ours { status: shown.join_status.clone() }
        } else {
            Standing::NotBound
        };
    }
    if shown.instance_id.is_none() {
        return Standing::NotBound;
    }
    Standing::Ours { status: shown.join_status.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::durable::Durable;
    use crate::core::params::Params;
    use crate::core::tests::rig::{allocated, params};

    fn id(id: &str) -> InstanceId {
        InstanceId::parse(id).unwrap()
    }

    /// What is remembered of ourselves, and what the session shows: an instance with these ids, or none.
    fn standing(
        params: Params,
        own: Option<&str>,
        attached: bool,
        shown: Option<(Option<&str>, Option<&str>)>,
    ) -> Standing {
        let durable = Durable { instance: own.map(id), attached, ..Durable::default() };
        let now = crate::clock::now();
        let common = Common::new(params.into(), durable, 7, "2026-11-22T10:00:00Z".parse().unwrap(), now);
        let instance = shown.map(|(instance, allocation)| InstanceInfo {
            instance_id: instance.map(id),
            allocation_id: allocation.map(|id| crate::core::ids::AllocationId::parse(id).unwrap()),
            join_status: JoinStatus::Pending,
            health: None,
        });
        judge(
            &common,
            &Session {
                session_id: crate::core::ids::SessionId::parse("s-1").unwrap(),
                region_id: None,
                instance,
                document: "{}".into(),
                print: 0,
                is_new: false,
            },
        )
    }

    #[test]
    fn whose_it_is_depends_on_what_is_shown_and_on_what_we_know_of_ourselves() {
        let ours = || Standing::Ours { status: JoinStatus::Pending };
        let is_foreign = |standing: Standing| matches!(standing, Standing::Foreign(_));
        // Without a fence it is the id alone, and whoever has none of ours is somebody else.
        assert_eq!(standing(params(), None, false, None), Standing::Free);
        assert_eq!(standing(params(), Some("i-1"), true, Some((Some("i-1"), None))), ours());
        assert!(is_foreign(standing(params(), Some("i-1"), true, Some((Some("i-2"), None)))));
        assert!(is_foreign(standing(params(), None, false, Some((Some("i-2"), None)))));
        assert!(is_foreign(standing(params(), None, false, Some((None, None)))), "half-made, and not by us");
        assert_eq!(standing(params(), Some("i-1"), false, Some((None, None))), Standing::NotBound);
        // With one it is the fence, and the id as far as it is known.
        assert_eq!(standing(allocated(), None, false, None), Standing::NotBound, "the provider may be at work");
        assert_eq!(standing(allocated(), Some("i-1"), true, None), Standing::Free, "we were there already");
        assert_eq!(standing(allocated(), None, false, Some((Some("i-1"), Some("a-1")))), ours());
        assert!(is_foreign(standing(allocated(), None, false, Some((Some("i-1"), Some("a-2"))))));
        assert!(is_foreign(standing(allocated(), Some("i-1"), true, Some((Some("i-2"), Some("a-1"))))));
        for half in [(None, None), (None, Some("a-1")), (Some("i-1"), None)] {
            assert_eq!(standing(allocated(), None, false, Some(half)), Standing::NotBound, "{half:?}");
        }
        assert_eq!(standing(allocated(), Some("i-1"), true, Some((Some("i-1"), None))), ours(), "less than it knows");
        assert_eq!(standing(allocated(), Some("i-1"), true, Some((None, Some("a-1")))), Standing::NotBound);
    }
}
