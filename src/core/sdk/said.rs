//! What the game has said in the words of Agones, and what is remembered of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the game does with itself, once it is ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "snake_case")]
pub enum Hold {
    /// Nothing: it waits for players.
    #[default]
    Free,
    /// It keeps itself for somebody.
    Reserved {
        /// When that is over; `None`: when it says so.
        until: Option<Timestamp>,
    },
    /// It is in use.
    Allocated,
}

/// What is remembered of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SdkState {
    /// What the game does with itself.
    pub hold: Hold,
    /// Its labels, by the key that it gave.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, by the key that it gave.
    pub annotations: BTreeMap<String, String>,
}

/// One fact that the game has said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum SdkChange {
    /// It is neither reserved nor allocated any more.
    Freed,
    /// It reserved itself.
    Reserved {
        /// Until when; `None`: until it says otherwise.
        until: Option<Timestamp>,
    },
    /// It allocated itself, and so is ready.
    Allocated,
    /// It labelled itself.
    Label {
        /// As it gave it, without any prefix.
        key: String,
        /// At most 63 characters.
        value: String,
    },
    /// It annotated itself.
    Annotation {
        /// As it gave it, without any prefix.
        key: String,
        /// At most 4096 characters.
        value: String,
    },
}

impl SdkChange {
    /// Whether it has not happened where the disk refused it. What is so already, whatever the disk says, is kept.
    pub fn is_refusable(&self) -> bool {
        match self {
            Self::Freed => false,
            Self::Reserved { .. } | Self::Allocated | Self::Label { .. } | Self::Annotation { .. } => true,
        }
    }

    pub(super) fn is_about_hold(&self) -> bool {
        match self {
            Self::Freed | Self::Reserved { .. } | Self::Allocated => true,
            Self::Label { .. } | Self::Annotation { .. } => false,
        }
    }
}

impl SdkState {
    /// Adds one fact.
    pub(in crate::core) fn apply(&mut self, change: &SdkChange) {
        match change {
            SdkChange::Freed => self.hold = Hold::Free,
            SdkChange::Reserved { until } => self.hold = Hold::Reserved { until: *until },
            SdkChange::Allocated => self.hold = Hold::Allocated,
            SdkChange::Label { key, value } => {
                self.labels.insert(key.clone(), value.clone());
            }
            SdkChange::Annotation { key, value } => {
                self.annotations.insert(key.clone(), value.clone());
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.labels.iter().chain(&self.annotations).map(|(key, value)| key.len() + value.len()).sum()
    }
}
