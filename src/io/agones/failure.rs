//! How the SDK says no: gRPC's codes, and what becomes of them over HTTP.

use axum::http::StatusCode;
use tonic::Code;

use crate::core::event::Denied;
use crate::io::local::desk::NotGranted;
use crate::io::local::refusal::Refusal;
use crate::ports::AskError;

/// A call that was not carried out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The kind.
    pub(super) code: Code,
    /// What to do, in words.
    pub(super) message: String,
}

impl Failure {
    /// A failure of this kind.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Its status over HTTP (google/rpc/code.proto).
    pub(super) fn status(&self) -> StatusCode {
        match self.code {
            Code::Ok => StatusCode::OK,
            Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }
}

impl From<NotGranted> for Failure {
    fn from(error: NotGranted) -> Self {
        let code = match &error {
            // Nothing is wrong with the call: the configuration lacks how players connect.
            NotGranted::Denied(Denied::Field { field: "public_conn_str", .. } | Denied::Phase(_) | Denied::Gone(_)) => {
                Code::FailedPrecondition
            }
            NotGranted::Denied(Denied::Field { field: "labels" | "annotations", .. } | Denied::Full { .. }) => {
                Code::ResourceExhausted
            }
            NotGranted::Denied(Denied::Field { .. }) => Code::InvalidArgument,
            NotGranted::Denied(Denied::Allocated(_)) => Code::FailedPrecondition,
            NotGranted::Denied(Denied::UnknownNotification | Denied::UnknownReport) => Code::NotFound,
            NotGranted::Denied(Denied::Store(_))
            | NotGranted::Unasked(AskError::Busy | AskError::Ended)
            | NotGranted::TooSlow { .. } => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<&Refusal> for Failure {
    /// A body that was too large or too slow, or a caller who may not come in.
    fn from(refusal: &Refusal) -> Self {
        let code = match refusal.status() {
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
            StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
            _ => Code::InvalidArgument,
        };
        Self::new(code, refusal.message())
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code, failure.message)
    }
}
