//! The messages of `agones.dev.sdk` (sdk.proto of Agones 1.61.0), written by hand: as protobuf, and as its JSON with every field.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// Nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Empty {}

/// A label or an annotation.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// A span of time.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Duration {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
}

/// What a game server is told about itself.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(super) struct GameServer {
    #[prost(message, optional, tag = "1")]
    pub(super) object_meta: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    pub(super) spec: Option<Spec>,
    #[prost(message, optional, tag = "3")]
    pub(super) status: Option<Status>,
}

/// Who it is. Times are seconds since 1970.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(super) struct ObjectMeta {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
    #[prost(string, tag = "3")]
    pub(super) uid: String,
    #[prost(string, tag = "4")]
    pub(super) resource_version: String,
    #[prost(int64, tag = "5")]
    #[serde(serialize_with = "as_text")]
    pub(super) generation: i64,
    #[prost(int64, tag = "6")]
    #[serde(serialize_with = "as_text")]
    pub(super) creation_timestamp: i64,
    #[prost(int64, tag = "7")]
    #[serde(serialize_with = "as_text")]
    pub(super) deletion_timestamp: i64,
    #[prost(btree_map = "string, string", tag = "8")]
    pub(super) annotations: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "9")]
    pub(super) labels: BTreeMap<String, String>,
}

/// What is expected of it.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(super) struct Spec {
    #[prost(message, optional, tag = "1")]
    pub(super) health: Option<Health>,
}

/// How its heartbeat is judged.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(super) struct Health {
    #[prost(bool, tag = "1")]
    pub(super) disabled: bool,
    #[prost(int32, tag = "2")]
    pub(super) period_seconds: i32,
    #[prost(int32, tag = "3")]
    pub(super) failure_threshold: i32,
    #[prost(int32, tag = "4")]
    pub(super) initial_delay_seconds: i32,
}

/// How it stands.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(super) struct Status {
    #[prost(string, tag = "1")]
    pub(super) state: String,
    #[prost(string, tag = "2")]
    pub(super) address: String,
    #[prost(message, repeated, tag = "7")]
    pub(super) addresses: Vec<Address>,
    #[prost(message, repeated, tag = "3")]
    pub(super) ports: Vec<Port>,
    #[prost(message, optional, tag = "4")]
    pub(super) players: Option<PlayerStatus>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub(super) counters: BTreeMap<String, CounterStatus>,
    #[prost(btree_map = "string, message", tag = "6")]
    pub(super) lists: BTreeMap<String, ListStatus>,
}

/// One of its addresses; the type is one of Kubernetes' node addresses.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(super) struct Address {
    #[prost(string, tag = "1")]
    pub(super) r#type: String,
    #[prost(string, tag = "2")]
    pub(super) address: String,
}

/// One of its ports.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(super) struct Port {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int32, tag = "2")]
    pub(super) port: i32,
}

/// Player tracking; never there.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(super) struct PlayerStatus {
    #[prost(int64, tag = "1")]
    #[serde(serialize_with = "as_text")]
    pub(super) count: i64,
    #[prost(int64, tag = "2")]
    #[serde(serialize_with = "as_text")]
    pub(super) capacity: i64,
    #[prost(string, repeated, tag = "3")]
    pub(super) ids: Vec<String>,
}

/// A counter; never there.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(super) struct CounterStatus {
    #[prost(int64, tag = "1")]
    #[serde(serialize_with = "as_text")]
    pub(super) count: i64,
    #[prost(int64, tag = "2")]
    #[serde(serialize_with = "as_text")]
    pub(super) capacity: i64,
}

/// A list; never there.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(super) struct ListStatus {
    #[prost(int64, tag = "1")]
    #[serde(serialize_with = "as_text")]
    pub(super) capacity: i64,
    #[prost(string, repeated, tag = "2")]
    pub(super) values: Vec<String>,
}

/// JSON's numbers are too small for 64 bits (ProtoJSON).
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn as_text<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}
