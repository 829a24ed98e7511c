//! Tests: agones. The SDK over REST, WebSocket and gRPC: against a fake core, and the real program against a simulated environment.

mod grpc;
mod many;
mod rest;
mod rpc;
mod watch;
mod whole;
